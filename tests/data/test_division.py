"""Dividing annotated images: shares, seed, what stays together, and what cannot be divided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from peftcorr.data.division import Division, divide
from peftcorr.data.layouts.instance import Instance
from peftcorr.errors import PeftCorrError

SHARES = {"val": 0.15, "test": 0.15}


def made(root: Path, count: int, categories: Sequence[str] = ("cat",), things: int = 0) -> list[Instance]:
    """`count` photographs, of the categories by turns, each of one of `things` things."""
    root.mkdir(exist_ok=True)
    found = []
    for n in range(count):
        noise = np.random.default_rng(n).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((64, 48), Image.Resampling.BICUBIC).save(root / f"{n:03d}.png")
        category = categories[n % len(categories)]
        thing = f"thing {n % things}" if things else ""
        found.append(
            Instance(
                f"{n:03d}.png",
                n,
                (64, 48),
                category,
                category,
                (0, 0, 9, 9),
                81,
                False,
                {"a": (1, 1)},
                thing=thing,
            )
        )
    return found


def sizes(division: Division) -> dict[str, int]:
    return {split: len(images) for split, images in division.lists.items()}


def test_shares_and_seed(tmp_path: Path) -> None:
    objects = made(tmp_path, 40, ("cat", "dog"))
    division = divide(objects, tmp_path, SHARES, 0, "image")
    assert sizes(division) == {"trn": 28, "val": 6, "test": 6}
    assert sorted(chain(*division.lists.values())) == [f"{n:03d}.png" for n in range(40)]
    assert all(images == sorted(images) for images in division.lists.values())
    for images in division.lists.values():
        cats = sum(int(image[:3]) % 2 == 0 for image in images)
        assert 2 * cats == len(images), "each category is divided for itself"
    assert divide(objects[::-1], tmp_path, SHARES, 0, "image") == division
    assert divide(objects, tmp_path, SHARES, 1, "image").lists != division.lists
    assert divide(objects, tmp_path, {"val": 0, "test": 0.5}, 0, "image").lists.keys() == {"trn", "test"}
    assert (division.duplicates, division.small) == ([], [])


def test_every_split_has_a_pair_where_there_are_images_enough(tmp_path: Path) -> None:
    objects = made(tmp_path, 6)
    assert sizes(divide(objects, tmp_path, SHARES, 0, "image")) == {"trn": 2, "val": 2, "test": 2}
    with pytest.raises(
        PeftCorrError, match=r"5 images in 5 groups .* leave nothing for val: divide by image"
    ):
        divide(objects[:5], tmp_path, SHARES, 0, "image")
    rare = [replace(i, category="axolotl") if i.image >= "006" else i for i in made(tmp_path, 9)]
    division = divide(rare, tmp_path, SHARES, 0, "image")
    assert (division.small, sizes(division)) == (["axolotl"], {"trn": 5, "val": 2, "test": 2})


def test_near_duplicates_are_in_one_split(tmp_path: Path) -> None:
    objects = made(tmp_path, 30)
    copies = []
    for n in range(0, 30, 3):
        with Image.open(tmp_path / f"{n:03d}.png") as image:
            image.resize((48, 36), Image.Resampling.LANCZOS).save(tmp_path / f"copy-{n:03d}.jpg", quality=80)
        copies.append(replace(objects[n], image=f"copy-{n:03d}.jpg", size=(48, 36)))
    division = divide(objects + copies, tmp_path, {"val": 0.3, "test": 0.3}, 0, "image")
    assert sorted(map(tuple, division.duplicates)) == [
        (f"{n:03d}.png", f"copy-{n:03d}.jpg") for n in range(0, 30, 3)
    ]
    where = {image: split for split, images in division.lists.items() for image in images}
    assert all(where[f"{n:03d}.png"] == where[f"copy-{n:03d}.jpg"] for n in range(0, 30, 3))
    assert sizes(division) == {"trn": 16, "val": 12, "test": 12}


def test_by_object_and_by_category(tmp_path: Path) -> None:
    objects = made(tmp_path, 48, ("ape", "bee", "cat", "dog", "eel", "fox"), things=8)
    for by in ("object", "category"):
        division = divide(objects, tmp_path, {"val": 0.2, "test": 0.2}, 0, by)
        where = {image: split for split, images in division.lists.items() for image in images}
        splits: dict[str, set[str]] = {}
        for instance in objects:
            what = instance.thing if by == "object" else instance.category
            splits.setdefault(what, set()).add(where[instance.image])
        assert all(len(found) == 1 for found in splits.values())
        assert {split for found in splits.values() for split in found} == {"trn", "val", "test"}
    with pytest.raises(
        PeftCorrError, match="The annotation does not say what is one object on several images"
    ):
        divide(made(tmp_path, 6), tmp_path, SHARES, 0, "object")
    with pytest.raises(
        PeftCorrError, match=r"6 images in 1 groups .*--by category.* leave nothing for val and test"
    ):
        divide(made(tmp_path, 6), tmp_path, SHARES, 0, "category")


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    objects = made(tmp_path, 6)
    (tmp_path / "003.png").write_bytes(b"no image")
    with pytest.raises(PeftCorrError, match=r"003\.png cannot be decoded"):
        divide(objects, tmp_path, SHARES, 0, "image")

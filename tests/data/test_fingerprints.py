"""Copies of photographs are found in whatever file, and photographs that are alike are not taken for copies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from peftcorr.data.fingerprints import BYTES, fingerprints, overlap
from peftcorr.data.images import ImageStore, ResizeMode
from peftcorr.data.leakage import Leakage, warnings

SIZE = 96


def compared(trained: Path, tested: Path, mode: ResizeMode = "stretch", size: int = SIZE) -> Leakage:
    """Two folders of images."""
    found = []
    for folder in (trained, tested):
        paths = sorted(path.name for path in folder.iterdir())
        found += [fingerprints(ImageStore(folder, size, mode), paths), paths]
    return overlap(*found)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "trained").mkdir()
    (tmp_path / "tested").mkdir()
    return tmp_path / "trained", tmp_path / "tested"


@pytest.fixture
def photographs(photograph: Callable[..., Image.Image]) -> list[Image.Image]:
    return [photograph(200 + 10 * seed, 150, seed) for seed in range(12)]


@pytest.mark.parametrize("mode", ["stretch", "pad", "stretch_tensor"])
def test_copies_are_found_and_others_are_not(
    folders: tuple[Path, Path], photographs: list[Image.Image], mode: ResizeMode
) -> None:
    trained, tested = folders
    for number, image in enumerate(photographs[:6]):
        image.save(trained / f"{number}.png")
    photographs[1].save(tested / "another-file.bmp")
    photographs[2].save(tested / "saved-again.jpg", quality=40)
    photographs[3].resize((73, 50)).save(tested / "smaller.jpg", quality=75)
    for number, image in enumerate(photographs[6:]):
        image.save(tested / f"other-{number}.png")
    found = compared(trained, tested, mode)
    assert (found.trained_images, found.tested_images, found.identical, found.near) == (6, 9, 1, 2)
    assert found.examples == [
        ["1.png", "another-file.bmp"],
        ["2.png", "saved-again.jpg"],
        ["3.png", "smaller.jpg"],
    ]


def test_padding_is_no_part_of_the_picture(
    folders: tuple[Path, Path], photographs: list[Image.Image]
) -> None:
    photographs[0].save(folders[0] / "a.png")
    below, round_it = (
        fingerprints(ImageStore(folders[0], SIZE, mode), ["a.png"])[0][16:].astype(int)
        for mode in ("pad", "centre_lanczos")
    )
    assert np.abs(below - round_it).max() < 8


def test_alike_is_not_the_same(folders: tuple[Path, Path]) -> None:
    """Two things before one wall share the bits of the difference hash, but not the thumbnail."""
    trained, tested = folders
    wall = np.tile(np.linspace(250, 200, 90), (60, 1))[..., None].repeat(3, 2).astype(np.uint8)
    for folder, colour in ((trained, (200, 30, 30)), (tested, (30, 140, 60))):
        picture = wall.copy()
        picture[20:50, 30:60] = colour
        Image.fromarray(picture).save(folder / "bottle.png")
    found = compared(trained, tested)
    prints = [fingerprints(ImageStore(folder, SIZE), ["bottle.png"])[0] for folder in folders]
    assert np.bitwise_count(prints[0][8:16] ^ prints[1][8:16]).sum() <= 10
    assert (found.identical, found.near) == (0, 0)


def test_a_mirrored_or_turned_picture_is_another(
    folders: tuple[Path, Path], photographs: list[Image.Image]
) -> None:
    trained, tested = folders
    photographs[0].save(trained / "a.png")
    photographs[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tested / "mirrored.png")
    photographs[0].transpose(Image.Transpose.ROTATE_180).save(tested / "turned.png")
    found = compared(trained, tested)
    assert (found.identical, found.near) == (0, 0)


def test_an_image_is_decoded_and_fingerprinted_once(
    folders: tuple[Path, Path], photographs: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, _ = folders
    names = []
    for number, image in enumerate(photographs):
        image.save(trained / f"{number}.png")
        names.append(f"{number}.png")
    store = ImageStore(trained, SIZE)
    store.add(names)  # what a run has decoded anyway
    expected = fingerprints(store, names)
    assert store.decodes == len(names)
    monkeypatch.setattr("peftcorr.data.fingerprints.fingerprint", None)
    assert np.array_equal(fingerprints(store, names[::-1])[::-1], expected)
    assert fingerprints(store, []).shape == (0, BYTES)


def test_few_examples_are_kept_and_the_warning_names_one(
    folders: tuple[Path, Path], photographs: list[Image.Image]
) -> None:
    trained, tested = folders
    for number, image in enumerate(photographs[:8]):
        for folder in folders:
            image.save(folder / f"{number}.png")
    found = compared(trained, tested)
    assert (found.identical, len(found.examples)) == (8, 5)
    clean = found.model_copy(update={"identical": 0, "examples": []})
    [said] = warnings({"farm/test": found, "zoo/test": clean})
    assert "8 of the 8 images of farm/test were trained on (8 the same, 0 saved again" in said


def test_real_photographs(shared_root: Path, folders: tuple[Path, Path]) -> None:
    """PF-Pascal's way: at most 300 px. No photograph of one split of animal-pairs is in another."""
    root = shared_root / "data" / "animal-pairs" / "JPEGImages"
    paths = sorted(path.relative_to(root).as_posix() for path in root.glob("*/*.jpg"))
    here, there = paths[::9], paths[4::9]
    copies = here[::8]
    for path in copies:
        with Image.open(root / path) as image:
            image.thumbnail((300, 300))
            image.save(folders[1] / path.replace("/", "-"), quality=85)
    trained = fingerprints(ImageStore(root, 224), here)
    others = overlap(trained, here, fingerprints(ImageStore(root, 224), there), there)
    assert (others.identical, others.near) == (0, 0)
    names = [path.replace("/", "-") for path in copies]
    found = overlap(trained, here, fingerprints(ImageStore(folders[1], 224), names), names)
    assert (found.identical, found.near) == (0, len(copies))
    assert found.examples == [list(pair) for pair in zip(copies, names, strict=True)][:5]


def prints(bits: int = 0, levels: float = 0, exact: int = 0) -> np.ndarray:
    """One fingerprint: so many bits set, a thumbnail of one grey, and a number for the exact hash."""
    flags = np.packbits(np.arange(64) < bits)
    thumbnail = np.full(3 * 16 * 16, int(levels), np.uint8)
    thumbnail[: round((levels % 1) * len(thumbnail))] += 1
    return np.concatenate((np.full(8, exact, np.uint8), flags, thumbnail))[None]


@pytest.mark.parametrize(
    ("bits", "levels", "exact", "kind"),
    [
        (0, 0, 0, "identical"),
        (64, 255, 0, "identical"),
        (10, 0, 1, "near"),
        (11, 0, 1, None),
        (0, 10, 1, "near"),
        (0, 10.01, 1, None),
        (10, 10, 1, "near"),
    ],
)
def test_how_far_a_copy_may_be_off(bits: int, levels: float, exact: int, kind: str | None) -> None:
    """At most 10 of the 64 bits and 10 levels root mean square: on either side of each limit."""
    assert prints().shape == (1, BYTES)
    for one, other in (
        (prints(), prints(bits, levels, exact)),
        (prints(bits, levels, exact), prints()),
    ):
        found = overlap(one, ["a"], other, ["b"])
        assert (found.identical, found.near) == (kind == "identical", kind == "near")
        assert found.examples == ([["a", "b"]] if kind else [])

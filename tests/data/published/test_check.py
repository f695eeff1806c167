"""What a check counts, and what it finds wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from peftcorr.console.progress import Progress
from peftcorr.data import DATASETS
from peftcorr.data.base import DatasetSource
from peftcorr.data.published.catalogue import CATALOGUE, Figures
from peftcorr.data.published.check import SplitCheck, check_split
from tests.conftest import SpairMaker

QUIET = Progress(None)
FOUND = Figures(pairs=12, categories=2, images=6, keypoints=48)


def source(name: str, root: Path | None, cache: Path) -> DatasetSource:
    cls = DATASETS.get(name)
    return cls(cls.Config(), root, cache)


def test_a_split_is_counted_and_every_image_opened(spair_root: Path, tmp_path: Path) -> None:
    check = check_split(source("spair71k", spair_root, tmp_path), "val", QUIET)
    assert check == SplitCheck("val", FOUND)


def test_missing_and_unreadable_images(spair_root: Path, tmp_path: Path) -> None:
    opened = source("spair71k", spair_root, tmp_path)
    opened.load("test")
    images = spair_root / "JPEGImages"
    (images / "cat" / "2008_000001.jpg").unlink()
    (images / "train" / "2008_000002.jpg").write_bytes(
        (images / "train" / "2008_000002.jpg").read_bytes()[:300]
    )
    Image.new("RGB", (61, 40)).save(images / "train" / "2008_000003.jpg")
    check = check_split(opened, "test", QUIET)
    assert (check.found, check.missing, check.unreadable) == (FOUND, 1, 2)
    text = "\n".join(check.problems)
    for words in ("2008_000001.jpg is missing", "2008_000002.jpg cannot be decoded", "is 61 x 40 but"):
        assert words in text


def test_a_split_that_cannot_be_read(spair: SpairMaker, tmp_path: Path) -> None:
    root = spair.write()
    next((root / "PairAnnotation" / "test").iterdir()).write_text("{")
    check = check_split(source("spair71k", root, tmp_path), "test", QUIET)
    assert check.found is None
    assert len(check.problems) == 1
    assert str(root / "PairAnnotation" / "test") in check.problems[0]
    assert check.differences(Figures(pairs=12, categories=2)) == ["pairs", "categories"]


def test_differences() -> None:
    check = SplitCheck("test", FOUND)
    assert check.differences(Figures(pairs=12, images=6)) == []
    assert check.differences(Figures(pairs=13, images=6, keypoints=47)) == ["pairs", "keypoints"]
    assert check.differences(None) == []


def test_a_dataset_of_one_split(make_willow: Callable[..., Path], tmp_path: Path) -> None:
    willow = check_split(source("pf_willow", make_willow(), tmp_path), "test", QUIET)
    assert willow.found == Figures(pairs=12, categories=2, images=6, keypoints=120)
    assert not willow.problems


@pytest.mark.parametrize("name", ["spair71k", "pf_willow"])
def test_published_splits_are_those_of_the_loader(
    name: str, spair_root: Path, willow_root: Path, tmp_path: Path
) -> None:
    root = spair_root if name == "spair71k" else willow_root
    assert source(name, root, tmp_path).splits() == list(CATALOGUE[name].splits)


def test_the_real_willow_is_as_published(shared_root: Path, tmp_path: Path) -> None:
    check = check_split(source("pf_willow", shared_root / "data" / "pf-willow", tmp_path), "test", QUIET)
    assert not check.problems
    assert check.differences(CATALOGUE["pf_willow"].splits["test"]) == []

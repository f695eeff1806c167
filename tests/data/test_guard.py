"""Who asks for the test split while something is still chosen is refused, whichever way it asks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from accelerate import Accelerator

from peftcorr.backbones import Backbone
from peftcorr.console.progress import Progress
from peftcorr.data.base import DatasetSource, PairDataset
from peftcorr.data.correspondences import correspondences
from peftcorr.data.guard import require_open, selecting
from peftcorr.data.images import ImageStore
from peftcorr.data.layouts.spair import SpairFolder
from peftcorr.engine.evaluate import Evaluator, Split
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError

REFUSED = "The test split was asked for before training and selection had ended"


class Sly(DatasetSource):
    """A dataset that trains on another one's test pairs."""

    name = "sly"

    def splits(self) -> list[str]:
        return ["trn", "test"]

    def load(self, split: str) -> PairDataset:
        found = SpairFolder(SpairFolder.Config(), self.root, self.cache)
        return replace(found.load("test"), split=split)


class Mislabelled(Sly):
    """A dataset that gives its test pairs whatever it is asked for."""

    def load(self, split: str) -> PairDataset:
        return PairDataset("mislabelled", "test", self.root or Path(), None)  # type: ignore[arg-type]


class Untouched(Sly):
    """A dataset that must not be read at all."""

    def load(self, split: str) -> PairDataset:
        raise AssertionError(f"{split} is read")


@pytest.mark.parametrize("split", ["trn", "val"])
def test_other_splits_are_read(spair_root: Path, tmp_path: Path, split: str) -> None:
    with selecting():
        assert len(SpairFolder(SpairFolder.Config(), spair_root, tmp_path).load(split)) == 12


def test_a_dataset_does_not_load_test(spair_root: Path, tmp_path: Path) -> None:
    source = SpairFolder(SpairFolder.Config(), spair_root, tmp_path)
    with selecting(), pytest.raises(PeftCorrError, match=REFUSED):
        source.load("test")
    assert len(source.load("test")) == 12


def test_it_is_refused_before_a_file_is_read(tmp_path: Path) -> None:
    with selecting(), pytest.raises(PeftCorrError, match=REFUSED):
        Untouched(Untouched.Config(), None, tmp_path).load("test")


@pytest.mark.parametrize("cls", [Sly, Mislabelled])
def test_a_dataset_that_gives_test_under_another_name(
    spair_root: Path, tmp_path: Path, cls: type[DatasetSource]
) -> None:
    source = cls(cls.Config(), spair_root, tmp_path)
    with selecting(), pytest.raises(PeftCorrError, match=REFUSED):
        source.load("trn")


def test_the_workbench_keeps_what_an_earlier_run_opened_to_itself(spair_root: Path, tmp_path: Path) -> None:
    bench = Workbench({"": spair_root}, None, tmp_path / "out", tmp_path, Progress(None))
    asked = (bench.source({"name": "pairs"}), "test", Backbone.Config(image_size=32))
    split = bench.split(*asked)
    with selecting(), pytest.raises(PeftCorrError, match=REFUSED):
        bench.split(*asked)
    assert bench.split(*asked) is split


def test_a_test_split_that_was_kept_is_not_predicted(spair_root: Path, tmp_path: Path) -> None:
    dataset = SpairFolder(SpairFolder.Config(), spair_root, tmp_path).load("test")
    split = Split(dataset, correspondences(dataset), ImageStore(dataset.image_root, 32))
    encoder = None  # it does not come so far
    with selecting(), pytest.raises(PeftCorrError, match=REFUSED):
        Evaluator(encoder, Accelerator(cpu=True), 1, Progress(None)).predict(split, [])  # type: ignore[arg-type]


def test_it_opens_again_whatever_happens() -> None:
    with pytest.raises(ZeroDivisionError), selecting(), selecting("the tuning"):
        1 / 0  # noqa: B018
    require_open("test")
    with selecting():
        with selecting("the tuning"), pytest.raises(PeftCorrError, match="before the tuning had ended"):
            require_open("test")
        with pytest.raises(PeftCorrError, match=REFUSED):
            require_open("test")

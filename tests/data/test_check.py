"""Datasets that do not give what a run reads, each refused by its check."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from peftcorr.data.base import DatasetSource, PairDataset
from peftcorr.data.check import check_source, checks
from peftcorr.data.columns import PAIR_FEATURES
from peftcorr.errors import BrokenContract


class Made(DatasetSource):
    """Three pairs of two images, each row as `changed` makes it."""

    needs_root = True
    changed: Callable[[dict[str, Any], int], dict[str, Any]] = staticmethod(lambda row, number: row)

    @property
    def name(self) -> str:
        return "made"

    def splits(self) -> list[str]:
        return ["trn", "test"]

    def rows(self) -> list[dict[str, Any]]:
        row = dict.fromkeys(PAIR_FEATURES) | {"category": "cat", "reference_length": 40.0}
        row |= {f"{side}_image": f"{side}.png" for side in ("source", "target")}
        row |= {f"{side}_size": [120, 90] for side in ("source", "target")}
        row |= {f"{side}_keypoints": [[100.0, 20.0], [60.0, 50.0]] for side in ("source", "target")}
        row |= {"source_box": [], "target_box": [], "keypoint_ids": ["0", "1"]}
        return [type(self).changed({**row, "pair_id": f"p{number}"}, number) for number in range(3)]

    def load(self, split: str) -> PairDataset:
        assert self.root is not None
        return PairDataset(
            self.name, split, self.root, Dataset.from_list(self.rows(), features=PAIR_FEATURES)
        )


def changing(**values: Any) -> type[Made]:
    """With other values in every row."""
    return type("Changed", (Made,), {"changed": staticmethod(lambda row, number: {**row, **values})})


class Renamed(Made):
    def load(self, split: str) -> PairDataset:
        found = super().load(split)
        return PairDataset("other", split, found.image_root, found.table)


class FewerColumns(Made):
    def load(self, split: str) -> PairDataset:
        found = super().load(split)
        return PairDataset(self.name, split, found.image_root, found.table.remove_columns("mirror"))


class Empty(Made):
    def load(self, split: str) -> PairDataset:
        found = super().load(split)
        return PairDataset(self.name, split, found.image_root, found.table.select([]))


class Restless(Made):
    def rows(self) -> list[dict[str, Any]]:
        found = super().rows()
        order = np.random.default_rng().permutation(1000)[:3]
        return [
            {**row, "reference_length": 40.0 + float(value)} for row, value in zip(found, order, strict=True)
        ]


class Open(Made):
    """Goes round the guard of `load`."""

    def __init_subclass__(cls, **options: Any) -> None:
        pass


class Opened(Open):
    def load(self, split: str) -> PairDataset:
        return PairDataset(
            "made", split, Path(str(self.root)), Dataset.from_list(self.rows(), features=PAIR_FEATURES)
        )


POINTS = [[20.0, 100.0], [60.0, 50.0]]  # x and y the wrong way round
SHARES = [[0.2, 0.9], [0.6, 0.5]]
WRONG: tuple[tuple[type[Made], str, str], ...] = (
    (FewerColumns, "columns", "has a column mirror of another type"),
    (Renamed, "columns", "calls itself other/test"),
    (Empty, "pairs", "has no pairs"),
    (changing(pair_id="same"), "pairs", "has a pair_id twice"),
    (changing(keypoint_ids=["0"]), "pairs", "has another number of .* in pair p0"),
    (changing(reference_length=0.0), "pairs", "has a reference_length that is not above 0"),
    (changing(reference_length=float("nan")), "pairs", "has a reference_length that is not above 0"),
    (changing(source_image="gone.png"), "images", r"cannot be read whole: .*gone\.png"),
    (changing(target_size=[90, 120]), "images", "cannot be read whole: .* x "),
    (
        changing(source_keypoints=POINTS),
        "keypoints",
        r"has keypoints in another frame: .* 3 of 12 keypoints lie outside .* \(20, 100\) of .*source\.png",
    ),
    (
        changing(target_keypoints=POINTS, target_size=[]),
        "keypoints",
        r"has keypoints .* 3 of 12 .* of .*target\.png",
    ),
    (
        changing(source_keypoints=SHARES, target_keypoints=SHARES),
        "keypoints",
        "has no keypoint beyond pixel 1",
    ),
    (Restless, "again", "is another when it is loaded again"),
    (Opened, "guard", "can be read while a run selects"),
)


@pytest.fixture
def make(tmp_path: Path) -> Callable[[type[Made]], Callable[[], Made]]:
    for name in ("source.png", "target.png"):
        Image.new("RGB", (120, 90), "grey").save(tmp_path / name)
    return lambda cls: lambda: cls(cls.Config(), tmp_path, tmp_path / "cache")


def test_a_sound_one_passes(make: Callable[[type[Made]], Callable[[], Made]]) -> None:
    check_source(make(Made)())
    names = []
    for name, check in checks(make(Made), "test"):
        check()
        names.append(name)
    assert names == ["columns", "pairs", "images", "keypoints", "again", "guard"]
    assert [name for name, _ in checks(make(Made), "trn")] == names[:-1]


@pytest.mark.parametrize(("cls", "check", "said"), WRONG, ids=lambda value: getattr(value, "__name__", ""))
def test_a_wrong_one_is_refused_by_its_check(
    make: Callable[[type[Made]], Callable[[], Made]], cls: type[Made], check: str, said: str
) -> None:
    steps = checks(make(cls), "test")
    for name, carry_out in steps:
        if name == check:
            break
        carry_out()
    with pytest.raises(BrokenContract, match=f"The dataset {cls.__name__} test {said}"):
        carry_out()


def test_few_keypoints_may_lie_beside_their_image(make: Callable[[type[Made]], Callable[[], Made]]) -> None:
    """As in published annotations."""

    class Many(Made):
        def rows(self) -> list[dict[str, Any]]:
            points = [[10.0, 20.0]] * 99
            row = super().rows()[0] | {"keypoint_ids": [str(n) for n in range(100)]}
            return [
                row
                | {"source_keypoints": [*points, [125.0, 20.0]], "target_keypoints": [*points, [9.0, 9.0]]}
            ]

    dict(checks(make(Many), "test"))["keypoints"]()


@pytest.mark.parametrize("splits", [[], ["train"], ["test", "test"]])
def test_splits_are_those_that_a_run_asks_for(
    make: Callable[[type[Made]], Callable[[], Made]], splits: list[str]
) -> None:
    cls = type("Split", (Made,), {"splits": lambda self: splits})
    with pytest.raises(
        BrokenContract, match=r"has the splits .*: name those that are there of trn, val, test"
    ):
        check_source(make(cls)())


@pytest.mark.parametrize("identity", [{"a": Path("x")}, ["a"], {1: "a"}])
def test_an_identity_is_plain_values(make: Callable[[type[Made]], Callable[[], Made]], identity: Any) -> None:
    cls = type("Odd", (Made,), {"identity": lambda self: identity})
    with pytest.raises(BrokenContract, match="has an identity that is no mapping of plain JSON values"):
        check_source(make(cls)())

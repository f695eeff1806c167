"""What is held out of a training: which names it comes to, and that trn and val are without every trace of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from peftcorr.data.base import DatasetSource, PairDataset
from peftcorr.data.hold_out import HoldOut, held_out
from peftcorr.data.layouts.coco import Coco
from peftcorr.data.layouts.mp100 import Mp100
from peftcorr.data.layouts.pf_pascal import PfPascal
from peftcorr.data.layouts.spair import SpairFolder
from peftcorr.data.without import keypoint_names
from peftcorr.errors import PeftCorrError
from tests.published_layouts import coco_content, picture, write_json, write_pf_pascal
from tests.small_folder import write_folder

NAMES = {"bird": [f"{n}" for n in range(10)], "car": [f"{n}" for n in range(5)], "dot": ["0"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photographs")


def source(root: Path, **option: Any) -> DatasetSource:
    return SpairFolder(SpairFolder.Config.model_validate({"hold_out": option}), root, root.parent / "cache")


def rows(dataset: PairDataset) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dataset.table.with_format("arrow")[:].to_pylist()
    return found


def test_a_share_is_of_each_category_and_the_same_on_every_machine() -> None:
    found = held_out(HoldOut(keypoints=0.3, seed=1), NAMES, "d")
    assert {name: len(held) for name, held in found.keypoints.items()} == {"bird": 3, "car": 2}  # 3 and 1.5
    assert found.keypoints == {"bird": ["0", "4", "5"], "car": ["2", "4"]}  # for ever
    assert found.seen["dot"] == {"0"}, "never all"
    shuffled = {name: [*reversed(own), *own] for name, own in reversed(NAMES.items())}
    assert held_out(HoldOut(keypoints=0.3, seed=1), shuffled, "d") == found
    assert held_out(HoldOut(keypoints=0.3, seed=2), NAMES, "d").keypoints != found.keypoints
    alone = held_out(HoldOut(keypoints=0.3, seed=1), {"car": NAMES["car"]}, "d")
    assert alone.keypoints["car"] == found.keypoints["car"], "no category changes another's draw"


def test_names_hold_in_every_category_or_in_one() -> None:
    option = HoldOut.model_validate({"keypoints": [3, "car/0"], "categories": ["dot"]})
    found = held_out(option, NAMES, "d")
    assert found.keypoints == {"bird": ["3"], "car": ["0", "3"]}
    assert found.categories == ["dot"]
    assert set(found.seen) == {"bird", "car"}
    unseen = found.unseen_of({"bird": ["2", "3", "new"], "dot": ["0"], "fox": ["0"]})
    assert unseen == ({"bird": ["3", "new"]}, ["dot", "fox"]), "what trn never had is unseen too"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"keypoints": ["11"]}, "has no keypoint '11'"),
        ({"keypoints": ["dot/1"]}, "has no keypoint 'dot/1'"),
        ({"categories": ["brid"]}, "has no category 'brid'. Did you mean 'bird'?"),
        ({"categories": ["bird", "car", "dot"]}, "no category: hold fewer out"),
        ({"keypoints": ["0"]}, "leaves the category 'dot' of d no keypoint"),
    ],
)
def test_what_cannot_be_held_out_is_refused(option: dict[str, Any], said: str) -> None:
    with pytest.raises(PeftCorrError) as refusal:
        held_out(HoldOut.model_validate(option), NAMES, "d")
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    "option", [{}, {"keypoints": 1}, {"keypoints": 0.0}, {"keypoints": []}, {"keypoint": 0.3}]
)
def test_an_option_that_says_nothing_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HoldOut.model_validate(option)


def test_trn_and_val_are_without_it_and_test_is_whole(folder: Path) -> None:
    plain = SpairFolder(SpairFolder.Config(), folder, folder.parent / "cache")
    held = source(folder, keypoints=["bird/1", "bird/2"], categories=["car"])
    for split in ("trn", "val"):
        loaded = held.load(split)
        assert keypoint_names(loaded) == {"bird": ["0", "3", "4"]}
        whole = {row["pair_id"]: row for row in rows(plain.load(split))}
        for row in rows(loaded):
            before = whole[row["pair_id"]]
            places = [before["keypoint_ids"].index(name) for name in row["keypoint_ids"]]
            for side in ("source_keypoints", "target_keypoints"):
                assert row[side] == [before[side][place] for place in places]
            assert row["keypoint_ids"], "no pair without a keypoint"
            rest = set(row) - {"keypoint_ids", "source_keypoints", "target_keypoints"}
            assert {name: row[name] for name in rest} == {name: before[name] for name in rest}
    assert rows(held.load("test")) == rows(plain.load("test"))


def test_a_pair_with_one_keypoint_left_stays(folder: Path) -> None:
    plain = SpairFolder(SpairFolder.Config(), folder, folder.parent / "cache")
    held = source(folder, keypoints=["0", "1", "2", "3"])
    expected = [row["pair_id"] for row in rows(plain.load("val")) if "4" in row["keypoint_ids"]]
    assert [row["pair_id"] for row in rows(held.load("val"))] == expected
    assert len(expected) > 2


def test_every_way_to_load_goes_through_it(folder: Path) -> None:
    """A plugin's loader knows nothing of the option."""

    class Plugin(DatasetSource):
        name = "plugin"

        def splits(self) -> list[str]:
            return ["trn", "val", "test"]

        def load(self, split: str) -> PairDataset:
            return SpairFolder(SpairFolder.Config(), self.root, self.cache).load(split)

    config = Plugin.Config(hold_out=HoldOut(keypoints=["4"]))
    assert keypoint_names(Plugin(config, folder, folder.parent / "cache").load("val"))["car"] == list("0123")


def test_a_size_that_is_of_keypoints_does_not_tell_of_those_held_out(tmp_path: Path) -> None:
    """Without boxes s is of the keypoints: moved ones that are held out must not change it where a model is chosen."""
    tables = []
    for name, x in (("near", 20), ("far", 59)):
        content = coco_content()
        for number, made in enumerate(content["annotations"]):
            made["bbox"] = [0, 0, 0, 0] if number else [5, 6, 20, 30]  # of the first the box is annotated
            if made["keypoints"][5]:
                made["keypoints"][3] = x  # the crown
        root = tmp_path / name / "birds"
        for split in ("trn", "val", "test"):
            write_json(root / "annotations" / f"{split}.json", content)
        for number in range(1, 7):
            picture(root / "images" / f"{number:012d}.jpg", (60, 40), number)
        config = Coco.Config(shared=1, hold_out=HoldOut(keypoints=["crown"]))
        coco = Coco(config, root, tmp_path / "cache")
        tables.append([rows(coco.load(split)) for split in ("trn", "val", "test")])
    near, far = tables
    assert near[:2] == far[:2]
    assert near[2] != far[2], "the test split is as the protocol has it"
    annotated = [row for row in near[1] if row["target_image"] == f"{1:012d}.jpg"]
    assert {row["reference_length"] for row in annotated} == {30.0}


def test_nothing_left_is_said(folder: Path) -> None:
    names = keypoint_names(source(folder, categories=["car"]).load("trn"))["bird"]
    held = source(folder, keypoints=[f"bird/{name}" for name in names[1:]], categories=["car"])
    layout = folder / "Layout" / "large"
    listed = layout.joinpath("val.txt").read_text().split()
    layout.joinpath("val.txt").write_text("".join(f"{name}\n" for name in listed if name.endswith("car")))
    with pytest.raises(PeftCorrError, match="leaves photographs no val pair"):
        held.load("val")


def test_pf_pascals_listed_keypoints_cannot_be_held_out_but_its_categories_can(tmp_path: Path) -> None:
    """Lists with coordinates number keypoints pair by pair: a landmark's number of trn is another point there."""
    root = write_pf_pascal(tmp_path / "pf-pascal")

    def pascal(**option: Any) -> PfPascal:
        return PfPascal(PfPascal.Config(hold_out=HoldOut(**option)), root, tmp_path / "cache")

    for option in (0.3, ["cat/2"]):
        for split in ("trn", "val"):
            with pytest.raises(PeftCorrError, match="of pf_pascal number the keypoints of each pair anew"):
                pascal(keypoints=option).load(split)
    held = pascal(categories=["train"])
    assert [row["keypoint_ids"] for row in rows(held.load("val"))] == [["0", "3"]], "trn has no 3 of a cat"
    assert held.held_out is not None
    assert held.held_out.unseen_of(keypoint_names(held.load("test"))) == ({}, ["train"])
    (root / "image_pairs" / "test_pairs.csv").unlink()
    assert keypoint_names(pascal(keypoints=["cat/2"]).load("trn"))["cat"] == ["0"], "these are landmarks"


def test_a_val_split_of_other_categories_keeps_them_without_what_is_held_out(tmp_path: Path) -> None:
    """MP-100's trn, val and test have no category in common."""
    root = tmp_path / "mp100"
    for word, name in (("train", "cat"), ("val", "dog"), ("test", "fox")):
        content = coco_content()
        content["annotations"] = content["annotations"][:4]
        content["categories"][0]["name"] = name
        write_json(root / "annotations" / f"mp100_split1_{word}.json", content)
    for number in range(1, 7):
        picture(root / f"{number:012d}.jpg", (60, 40), number)

    def names(split: str, **option: Any) -> dict[str, list[str]]:
        config = Mp100.Config(hold_out=HoldOut(**option) if option else None)
        return keypoint_names(Mp100(config, root, tmp_path / "cache").load(split))

    whole = names("val")
    assert "crown" in whole["dog"]
    assert names("val", keypoints=["crown"]) == {"dog": [n for n in whole["dog"] if n != "crown"]}
    shared = names("val", keypoints=0.3)["dog"]
    assert 0 < len(shared) < len(whole["dog"]), "of a share too nothing is selected on"
    with pytest.raises(PeftCorrError, match="leaves mp100 no val pair"):
        names("val", categories=["dog"])
    config = Mp100.Config(hold_out=HoldOut(keypoints=["crown"]))
    found = Mp100(config, root, tmp_path / "cache").held_out
    assert found is not None
    unseen = found.unseen_of({"cat": ["beak", "crown"], "dog": ["beak", "crown"], "fox": ["beak"]})
    assert unseen == ({"cat": ["crown"], "dog": ["crown"]}, ["fox"])
    assert set(found.seen) == {"cat"}, "trn alone is seen"

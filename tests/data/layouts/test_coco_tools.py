"""COCO's keypoint format as labelling tools write it: each way of theirs is read as what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peftcorr.data.layouts.coco import Coco
from peftcorr.errors import PeftCorrError
from tests.data.layouts.test_coco import Change, change, load, source
from tests.published_layouts import coco_category, coco_content, coco_object, write_coco, write_json


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "farm")


def rows(root: Path, **options: Any) -> list[dict[str, Any]]:
    return list(load(root, **options).table)


def each(part: str, **values: Any) -> Change:
    """Set fields of every entry of a part; a value that can be called makes the new one of the old one."""

    def mutate(content: dict[str, Any]) -> None:
        for entry in content[part]:
            for field, value in values.items():
                entry[field] = value(entry.get(field)) if callable(value) else value

    return mutate


def several(*changes: Change) -> Change:
    def mutate(content: dict[str, Any]) -> None:
        for one in changes:
            one(content)

    return mutate


SAME: dict[str, Change] = {  # mean what coco_content() means
    "sizes as 60.0": each("images", width=float, height=float),
    "a dot before names": each("images", file_name=lambda name: f"./{name}"),
    "ids as text": several(
        each("images", id=str), each("categories", id=str), each("annotations", image_id=str, category_id=str)
    ),
    "ids as text on one side": each("annotations", image_id=str, category_id=float),
    "ids as words": several(
        each("images", id=lambda n: f"picture {n}"), each("annotations", image_id=lambda n: f"picture {n}")
    ),
    "crowd as truth value": each("annotations", iscrowd=False),
    "a root category of the same name": lambda c: c["categories"].insert(
        0, {"id": 0, "name": "bird", "supercategory": "none"}
    ),
    "fields of other tasks": each("annotations", segmentation=[], isbbox=False, metadata={}, attributes=[]),
    "no size": each("images", width=None, height=None),
    "minus one": each(
        "annotations", keypoints=lambda k: [v if k[i - i % 3 + 2] else -1 for i, v in enumerate(k)]
    ),
    "null": each(
        "annotations", keypoints=lambda k: [v if k[i - i % 3 + 2] else None for i, v in enumerate(k)]
    ),
    "NaN": each(
        "annotations",
        keypoints=lambda k: [v if i % 3 == 2 or k[i + 2 - i % 3] else float("nan") for i, v in enumerate(k)],
    ),
    "area zero": each("annotations", area=0),
}


@pytest.mark.parametrize("mutate", SAME.values(), ids=SAME.keys())
def test_ways_of_writing_the_same(root: Path, mutate: Change) -> None:
    before = rows(root)
    change(root, mutate)
    after = rows(root)
    for row in (*before, *after):
        if mutate is SAME["no size"]:
            row["source_size"], row["target_size"] = [], []
    assert after == before
    assert source(root).notes("test") == []


def test_an_empty_supercategory_is_none(root: Path) -> None:
    change(root, each("categories", supercategory=""))
    assert {row["category"] for row in rows(root, within="supercategory")} == {"bird", "dog"}


@pytest.mark.parametrize("name", ["birds/1.jpg", "birds\\1.jpg", ".\\birds\\1.jpg"])
def test_folders_in_names_as_any_system_writes_them(root: Path, name: str) -> None:
    (root / "images" / "birds").mkdir()
    (root / "images" / f"{1:012d}.jpg").rename(root / "images" / "birds" / "1.jpg")
    change(root, lambda c: c["images"][0].update(file_name=name))
    assert "birds/1.jpg" in {row["source_image"] for row in rows(root)}


@pytest.mark.parametrize("box", ["missing", None, [], [0, 0, 0, 0]])
def test_without_a_box_the_keypoints_have_one(root: Path, box: Any) -> None:
    def mutate(content: dict[str, Any]) -> None:
        for annotation in content["annotations"][:2]:
            annotation["bbox"] = box
            if box == "missing":
                del annotation["bbox"]

    change(root, mutate)
    row = rows(root)[0]
    assert (row["source_box"], row["target_box"]) == ([1, 0, 5, 8], [2, 0, 5, 6])
    assert row["reference_length"] == 6
    [note] = source(root).notes("test")
    assert note.endswith(
        "2 of 6 objects have no bbox: s is the longer side of the box round their keypoints."
    )


def test_objects_whose_keypoints_are_all_at_one_place_have_no_length(root: Path) -> None:
    def mutate(content: dict[str, Any]) -> None:
        content["annotations"][0].update(bbox=None, keypoints=[4, 4, 2] * 5)

    change(root, mutate)
    assert all("000000000001.jpg" not in row["pair_id"] for row in rows(root))
    assert any("1 objects have no box" in note for note in source(root).notes("test"))


@pytest.mark.parametrize("keypoints", ["missing", None, []])
def test_objects_without_keypoints_are_left_out_and_counted(root: Path, keypoints: Any) -> None:
    before = rows(root)

    def mutate(content: dict[str, Any]) -> None:
        for number in (1, 5):
            content["annotations"].append({**coco_object(number, 1, ()), "keypoints": keypoints})
            if keypoints == "missing":
                del content["annotations"][-1]["keypoints"]

    change(root, mutate)
    assert rows(root) == before
    [note] = source(root).notes("test")
    assert note.endswith("test.json: 2 of 8 objects have no keypoints and are left out.")
    assert source(root).notes("test") == [note], "and it is said again when the table is there already"


def test_several_people_on_a_picture_are_paired_each_for_himself(root: Path) -> None:
    change(root, lambda c: c["annotations"].append(coco_object(1, 1, range(4), bbox=[30, 6, 9, 12])))
    found = rows(root)
    birds = [row for row in found if row["category"] == "bird"]
    assert len(birds) == 10, "four objects on three pictures: 12 ordered pairs less the 2 on one picture"
    assert len({row["pair_id"] for row in found}) == len(found)
    both = [row for row in birds if row["target_image"] == "000000000001.jpg"]
    assert sorted(row["reference_length"] for row in both) == [12, 12, 30, 30]
    assert {row["pair_id"].partition("-")[2] for row in both} == {
        "000000000001.jpg#1:bird",
        "000000000001.jpg#2:bird",
    }
    assert all(row["source_image"] != row["target_image"] for row in birds)
    checksum = source(root).identity()["pair_lists"]["test"]
    change(root, lambda c: c["annotations"].append(coco_object(1, 1, range(2, 5), bbox=[30, 6, 9, 12])))
    assert source(root).identity()["pair_lists"]["test"] != checksum, "the list tells the objects apart"


def test_categories_of_one_name_are_refused_where_both_have_objects(root: Path) -> None:
    change(root, lambda c: c["categories"].append(coco_category(3, "dog", "", ["a"])))
    assert len(rows(root)) == 8
    change(root, lambda c: c["categories"][1].update(name="bird"))
    with pytest.raises(PeftCorrError, match=r"categories\.1\.name is 'bird', which an earlier one has"):
        load(root)


def test_one_file_anywhere_is_the_test_split_until_lists_divide_it(root: Path) -> None:
    path = write_json(root / "export" / "result 1.json", coco_content())
    options = {"annotations": "export/result 1.json"}
    assert source(root, **options).splits() == ["test"]
    assert len(load(root, **options)) == 8

    lists = {"trn": (1, 2), "val": (5, 6), "test": (3, 4)}
    for split, numbers in lists.items():
        text = "".join(f"{n:012d}.jpg\r\n" for n in numbers)
        (root / "splits").mkdir(exist_ok=True)
        (root / "splits" / f"{split}.txt").write_text(text, encoding="utf-8")
    made = source(root, **options)
    assert made.splits() == ["trn", "val", "test"]
    assert [len(made.load(split)) for split in ("trn", "val")] == [2, 2]
    assert {*made.load("val").table["category"]} == {"dog"}
    with pytest.raises(PeftCorrError, match=r"result 1\.json: farm has no test pair"):
        made.load("test")  # bird 4 has two keypoints

    def refused(split: str, line: str, message: str) -> None:
        path = root / "splits" / f"{split}.txt"
        kept = path.read_text(encoding="utf-8")
        path.write_text(f"{kept}{line}\n", encoding="utf-8")
        with pytest.raises(PeftCorrError, match=message):
            source(root, **options).load("trn")
        path.write_text(kept, encoding="utf-8")

    twice = r"test\.txt, line 3: the image '0+1\.jpg' is listed already \(trn\.txt, line 1\)"
    refused("test", f"{1:012d}.jpg", twice)
    refused("trn", "x.jpg", r"trn\.txt lists 'x\.jpg', which the annotation does not have: delete .*splits")
    (root / "splits" / "val.txt").unlink()
    assert (
        source(root, **options).notes("trn")[-1].endswith("splits does not list 2 of the annotated images.")
    )
    assert source(root).splits() == ["trn", "val", "test"], "files of their own need no lists"
    path.unlink()
    assert source(root, **options).splits() == []


def test_a_file_a_split_is_not_divided(root: Path) -> None:
    assert Coco.Config().annotations == "annotations/{split}.json"
    (root / "splits").mkdir()
    (root / "splits" / "test.txt").write_text("nothing\n", encoding="utf-8")
    assert len(load(root)) == 8

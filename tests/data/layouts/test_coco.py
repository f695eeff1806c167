from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from peftcorr.data.base import PairDataset
from peftcorr.data.columns import PAIR_FEATURES
from peftcorr.data.layouts.coco import Coco
from peftcorr.errors import PeftCorrError
from tests.published_layouts import coco_content, coco_object, picture, write_coco, write_json

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "farm")


def source(root: Path, **options: Any) -> Coco:
    return Coco(Coco.Config.model_validate(options), root, root.parent / "cache")


def load(root: Path, **options: Any) -> PairDataset:
    return source(root, **options).load("test")


def change(root: Path, mutate: Change) -> Path:
    content = coco_content()
    mutate(content)
    return write_json(root / "annotations" / "test.json", content)


def numbers(dataset: PairDataset) -> list[tuple[int, int]]:
    columns = [dataset.table[side] for side in ("source_image", "target_image")]
    return [(int(a.split(".")[0]), int(b.split(".")[0])) for a, b in zip(*columns, strict=True)]


def test_a_pair_is_read_as_annotated(root: Path) -> None:
    dataset = load(root)
    assert (dataset.name, dataset.split, dataset.image_root) == ("farm", "test", root / "images")
    assert dataset.table.features == PAIR_FEATURES
    assert dataset.table[0] == {
        "pair_id": "000000000001.jpg-000000000002.jpg:bird",
        "category": "bird",
        "source_image": "000000000001.jpg",
        "target_image": "000000000002.jpg",
        "source_size": [60, 40],
        "target_size": [60, 40],
        "source_keypoints": [[1.0, 0.0], [2.0, 2.0], [3.0, 4.0], [4.0, 6.0]],
        "target_keypoints": [[2.0, 0.0], [3.0, 2.0], [4.0, 4.0], [5.0, 6.0]],
        "keypoint_ids": ["beak", "crown", "tail", "left_wing"],
        "source_box": [5.0, 6.0, 25.0, 36.0],
        "target_box": [5.0, 6.0, 25.0, 36.0],
        "reference_length": 30.0,
        "viewpoint_variation": None,
        "scale_variation": None,
        "truncation": None,
        "occlusion": None,
        "mirror": None,
        "target_occluded": None,
    }


def test_all_ordered_pairs_with_three_keypoints_in_common(root: Path) -> None:
    birds = [(a, b) for a in (1, 2, 3) for b in (1, 2, 3) if a != b]  # bird 4 has two keypoints
    assert numbers(load(root)) == [*birds, (5, 6), (6, 5)]
    fewer = numbers(load(root, shared=2))
    assert len(fewer) == 4 * 3 + 2
    assert numbers(load(root, shared=4)) == [(1, 2), (2, 1)]


def test_pairs_inside_a_supercategory_or_the_whole_file(root: Path) -> None:
    change(root, lambda c: c["categories"][1].update(supercategory="pet"))
    assert numbers(load(root, within="supercategory")) == numbers(load(root))
    everything = load(root, within="all", shared=2)
    assert len(numbers(everything)) == 26  # all ordered pairs of six, but 4 and each dog share one keypoint
    assert set(everything.table["category"]) == {"all"}
    row = next(row for row in everything.table if row["pair_id"].startswith("000000000001.jpg-000000000005"))
    assert row["keypoint_ids"] == ["beak", "tail", "right_wing"]


def test_keypoints_are_the_same_where_their_names_are(root: Path) -> None:
    def reorder(content: dict[str, Any]) -> None:
        content["categories"][1]["keypoints"] = ["tail", "x", "beak", "y", "crown"]

    change(root, reorder)
    row = next(
        row for row in load(root, within="all").table
        if (row["source_image"], row["target_image"]) == ("000000000003.jpg", "000000000005.jpg")
    )  # fmt: skip
    assert row["keypoint_ids"] == ["beak", "crown", "tail"]
    assert row["target_keypoints"] == [[7.0, 4.0], [9.0, 8.0], [5.0, 0.0]]


def test_categories_without_names_number_their_keypoints(root: Path) -> None:
    change(root, lambda c: c["categories"][0].pop("keypoints"))
    assert load(root).table[0]["keypoint_ids"] == ["0", "1", "2", "3"]


def test_an_image_counts_with_its_largest_object_that_is_no_crowd(root: Path) -> None:
    def more(content: dict[str, Any]) -> None:
        content["annotations"] += [
            coco_object(1, 1, range(5), bbox=[0, 0, 9, 35.5], area=700),
            coco_object(1, 1, range(5), bbox=[0, 0, 9, 39], area=9000, iscrowd=1),
            coco_object(1, 1, range(5), bbox=[0, 0, 9, 38], area=650),
        ]

    change(root, more)
    row = next(row for row in load(root).table if row["target_image"] == "000000000001.jpg")
    assert row["reference_length"] == 35.5
    assert len(numbers(load(root))) == 8


def test_area_of_the_box_where_there_is_none(root: Path) -> None:
    def more(content: dict[str, Any]) -> None:
        content["annotations"].append(coco_object(1, 1, range(5), bbox=[0, 0, 20, 29]))
        for annotation in content["annotations"]:
            del annotation["area"], annotation["iscrowd"]

    change(root, more)
    row = next(row for row in load(root).table if row["target_image"] == "000000000001.jpg")
    assert row["reference_length"] == 30.0  # 20 x 30, not 20 x 29


@pytest.mark.parametrize("bbox", [[1, 2, 0, 24], [1, 2, 24, 0]])
def test_a_box_with_one_zero_side_is_a_line(root: Path, bbox: list[float]) -> None:
    """COCO's boxes may be; the longer side is a length all the same."""
    change(root, lambda c: c["annotations"][0].update(bbox=bbox))
    row = next(row for row in load(root).table if row["target_image"] == "000000000001.jpg")
    assert row["reference_length"] == 24.0


def test_drawn_pairs_depend_on_the_seed_alone(root: Path) -> None:
    drawn = numbers(load(root, pairs=3))
    assert len(drawn) == 3 + 2
    assert set(drawn) <= set(numbers(load(root)))
    assert numbers(load(root, pairs=3)) == drawn
    assert any(numbers(load(root, pairs=3, seed=seed)) != drawn for seed in range(1, 6))

    def shuffle(content: dict[str, Any]) -> None:
        for part in ("images", "annotations", "categories"):
            content[part].reverse()

    change(root, shuffle)
    assert numbers(load(root, pairs=3)) == drawn
    change(root, lambda c: c["annotations"].__delitem__(slice(4, 6)))  # without the dogs
    assert numbers(load(root, pairs=3)) == drawn[:3]


def test_list_of_pairs_is_written_and_its_checksum_is_the_datasets_identity(root: Path) -> None:
    made = source(root, pairs=2, seed=5)
    identity = made.identity()
    assert identity["folder"] == made.name == "farm-pairs_2-seed_5"
    assert set(identity["pair_lists"]) == {"trn", "val", "test"}
    dataset = made.load("test")
    [path] = (root.parent / "cache" / "pair_lists").iterdir()
    content = path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == identity["pair_lists"]["test"]
    assert path.name == f"farm-pairs_2-seed_5-test-{identity['pair_lists']['test'][:12]}.tsv"
    row = dataset.table[0]
    assert content.decode().splitlines()[0] == f"bird\t{row['source_image']}\t{row['target_image']}"
    assert len(content.decode().splitlines()) == len(dataset)

    again = source(root, pairs=2, seed=5, **identity)
    assert again.load("test").table[:] == dataset.table[:]
    change(root, lambda c: c["annotations"].pop(1))
    with pytest.raises(PeftCorrError, match="recipe was made for a test list of pairs with the checksum"):
        again.load("test")
    with pytest.raises(PeftCorrError, match="recipe was made for a test list of pairs with the checksum"):
        again.identity()  # else a run would write the new checksum over the recipe's
    with pytest.raises(
        PeftCorrError, match=r"made for the dataset 'farm-pairs_2-seed_5', but .* 'farm-pairs_2'"
    ):
        source(root, pairs=2, folder="farm-pairs_2-seed_5")


def test_places_of_annotation_and_images(root: Path) -> None:
    (root / "annotations" / "test.json").rename(root / "kp_test2017.json")
    (root / "images").rename(root / "test2017")
    options = {"annotations": "kp_{split}2017.json", "images": "{split}2017"}
    assert source(root, **options).splits() == ["test"]
    assert len(load(root, **options)) == 8
    assert load(root, **options).image_root == root / "test2017"
    with pytest.raises(PeftCorrError, match=r"farm has no split 'test': it has trn, val\."):
        load(root)
    (root / "annotations" / "trn.json").rename(root / "annotations" / "train.json")
    assert source(root).splits() == ["trn", "val"]


@pytest.mark.parametrize(
    "options",
    [
        {"annotations": "test.json"},
        {"annotations": "../{split}.json"},
        {"images": "/tmp"},
        {"shared": 0},
        {"pairs": 0},
    ],
)
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Coco.Config.model_validate(options)


def test_images_in_folders_of_the_image_folder(root: Path) -> None:
    picture(root / "images" / "a" / "1.jpg", (60, 40))
    change(root, lambda c: c["images"][0].update(file_name="a/1.jpg"))
    dataset = load(root)
    assert "a/1.jpg" in dataset.table["source_image"][:]
    assert all((dataset.image_root / path).is_file() for path in dataset.table["source_image"])


def test_too_many_pairs_to_take_all(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peftcorr.data.layouts.coco._MOST_PAIRS", 5)
    with pytest.raises(
        PeftCorrError, match=r"'bird' has 6 pairs among 3 images alone: .* dataset\.pairs=1000"
    ):
        load(root)
    assert len(load(root, pairs=5)) == 7
    monkeypatch.setattr("peftcorr.data.layouts.coco._MOST_IMAGES", 2)
    assert len(load(root, pairs=4)) == 4  # two birds of three, both dogs


def test_missing_root(tmp_path: Path) -> None:
    for root, message in ((None, "--data-root coco=PATH"), (tmp_path / "none", "none is not a folder")):
        with pytest.raises(PeftCorrError, match=message):
            Coco(Coco.Config(), root, tmp_path / "cache")
    assert Coco(Coco.Config(), tmp_path, tmp_path / "cache").splits() == []


def test_real_ap10k_sample(shared_root: Path, tmp_path: Path) -> None:
    """Two photographs of two species: they pair across categories alone."""
    sample = shared_root / "data" / "ap-10k-sample"
    options = Coco.Config(annotations="{split}_ap10k.json", images=".", within="all")
    dataset = Coco(options, sample, tmp_path).load("test")
    published = {
        a["image_id"]: a for a in json.loads((sample / "test_ap10k.json").read_text())["annotations"]
    }
    assert numbers(dataset) == [(4, 37516), (37516, 4)]
    for row, (_, target) in zip(dataset.table, numbers(dataset), strict=True):
        x, y, v = (published[target]["keypoints"][start::3] for start in range(3))
        assert row["target_keypoints"] == [[a, b] for a, b, seen in zip(x, y, v, strict=True) if seen]
        assert row["reference_length"] == max(published[target]["bbox"][2:])
        assert len(row["keypoint_ids"]) == 16
        assert "right_eye" not in row["keypoint_ids"]

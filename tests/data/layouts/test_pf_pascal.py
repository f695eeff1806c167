from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from peftcorr.data.base import PairDataset
from peftcorr.data.columns import PAIR_FEATURES
from peftcorr.data.layouts.pf_pascal import PfPascal
from peftcorr.data.layouts.pf_pascal_list import CLASSES, find_list
from peftcorr.errors import PeftCorrError
from tests.published_layouts import JPEG, pf_pascal_annotation, pf_pascal_list, picture, write_pf_pascal

HEADER = "source_image,target_image,class,XA,YA,XB,YB"
A, B = f"{JPEG}/2008_000001.jpg", f"{JPEG}/2008_000002.jpg"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_pf_pascal(tmp_path / "pf-pascal")


def load(root: Path, split: str = "test", threshold: str = "image") -> PairDataset:
    config = PfPascal.Config.model_validate({"threshold": threshold})
    return PfPascal(config, root, root.parent / "cache").load(split)


def test_a_listed_pair_is_read_as_published(root: Path) -> None:
    dataset = load(root)
    assert (dataset.name, dataset.split, len(dataset)) == ("pf_pascal", "test", 2)
    assert dataset.table.features == PAIR_FEATURES
    assert dataset.table[0] == {
        "pair_id": "0000-2008_000001-2008_000002:cat",
        "category": "cat",
        "source_image": "2008_000001.jpg",
        "target_image": "2008_000002.jpg",
        "source_size": [300, 200],
        "target_size": [225, 300],
        "source_keypoints": [[30.5, 40.25], [120.0, 80.0]],
        "target_keypoints": [[10.0, 20.0], [100.125, 110.0]],
        "keypoint_ids": ["0", "1"],
        "source_box": [],
        "target_box": [],
        "reference_length": 300.0,
        "viewpoint_variation": None,
        "scale_variation": None,
        "truncation": None,
        "occlusion": None,
        "mirror": None,
        "target_occluded": None,
    }
    assert dataset.table["category"][:] == ["cat", "train"]
    assert all((dataset.image_root / path).is_file() for path in dataset.table["source_image"])


def test_the_classes_are_vocs() -> None:
    assert (len(CLASSES), CLASSES[0], CLASSES[-1]) == (20, "aeroplane", "tvmonitor")
    assert list(CLASSES) == sorted(CLASSES)


def test_coordinates_move_with_the_photograph(root: Path) -> None:
    """VOC's original of 500 px: a point keeps its share of the picture, counted from the outer edge."""
    picture(root / A, (500, 333))
    picture(root / B, (375, 500))
    row = load(root, threshold="box").table[0]
    assert (row["source_size"], row["target_size"]) == ([500, 333], [375, 500])
    assert np.allclose(
        row["source_keypoints"][0], [31 * 5 / 3 - 0.5, 40.75 * 5 / 3 - 0.5], atol=1e-12, rtol=0
    )
    assert np.allclose(row["target_keypoints"][1], [100.625 * 5 / 3 - 0.5, 110.5 * 5 / 3 - 0.5], atol=1e-12)
    assert row["reference_length"] == pytest.approx(200 * 5 / 3)
    assert row["target_box"] == pytest.approx([(x + 0.5) * 5 / 3 - 0.5 for x in (10, 20, 210, 170)])
    assert load(root).table[0]["reference_length"] == 500.0


def test_the_threshold_is_the_targets(root: Path) -> None:
    """Whichever of the two photographs is the larger."""
    picture(root / A, (500, 333))
    assert load(root).table[0]["reference_length"] == 300.0
    picture(root / A, (150, 100))
    picture(root / B, (330, 440))
    assert load(root).table[0]["reference_length"] == 440.0


def test_threshold_by_the_annotated_box(root: Path) -> None:
    pf_pascal_annotation(root, "cat", "2008_000002", [[1, 1]], box=(20, 30, 50.5, 130))
    dataset = load(root, threshold="box")
    assert dataset.name == "pf_pascal-box"
    assert dataset.table[0]["reference_length"] == 100.0
    assert dataset.table[0]["target_box"] == [20.0, 30.0, 50.5, 130.0]
    assert dataset.table[0]["source_box"] == [10.0, 20.0, 210.0, 170.0]
    assert load(root).table[0]["reference_length"] == 300.0


@pytest.mark.parametrize(
    ("box", "longer"),
    [((10, 20, 11, 150), 130), ((10, 20, 110, 21), 100), ((10, 20, 11, 21), 1), ((10, 20, 10.5, 20.25), 0.5)],
)
def test_a_box_of_one_pixel_across(root: Path, box: tuple[float, ...], longer: float) -> None:
    """It is an object as thin as that; a box without any width or height is refused, as is one turned round."""
    pf_pascal_annotation(root, "cat", "2008_000002", [[1, 1]], box)
    row = load(root, threshold="box").table[0]
    assert (row["target_box"], row["reference_length"]) == (list(box), longer)
    picture(root / B, (375, 500))
    assert load(root, threshold="box").table[0]["reference_length"] == pytest.approx(longer * 5 / 3)


def test_lists_without_coordinates_take_the_shared_landmarks(root: Path) -> None:
    row = load(root, "val").table[0]
    assert row["source_keypoints"] == [[30.5, 40.25], [200.0, 150.0]]
    assert row["target_keypoints"] == [[15.0, 25.0], [250.0, 260.0]]
    assert row["keypoint_ids"] == ["0", "3"]


def test_mirrored_and_repeated_rows_are_one_pair(root: Path) -> None:
    table = load(root, "trn").table
    pairs = list(zip(table["source_image"], table["target_image"], strict=True))
    a, b = "2008_000001.jpg", "2008_000002.jpg"
    assert pairs == [(a, b), (b, a), ("2010_000004.jpg", "2011_000005.jpg")]
    assert table[0]["source_keypoints"] == [[30.5, 40.25], [120.0, 80.0]]  # as photographed
    assert table[0]["keypoint_ids"] == ["0", "2"]


def test_training_joins_pairs_by_landmark_even_where_the_list_has_coordinates(root: Path) -> None:
    (root / "image_pairs" / "train_pairs.csv").unlink()
    pf_pascal_list(root, "trn", [(A, B, 8, "30.5;120", "40.25;80", "10;100.125", "20;110")], HEADER)
    assert load(root, "trn").table[0]["keypoint_ids"] == ["0", "2"]


@pytest.mark.parametrize(
    "name",
    [
        "image_pairs/test_pairs.csv",
        "test_pairs.csv",
        "PF-dataset-PASCAL/test_pairs.csv",
        "PF-dataset-PASCAL/test_pairs_pf_pascal.csv",
        "test_pairs_pf_pascal.csv",
    ],
)
def test_published_names_and_places_of_lists(root: Path, name: str) -> None:
    (root / "image_pairs" / "test_pairs.csv").rename(root / name)
    assert find_list(root, "test") == root / name
    assert len(load(root)) == 2


def test_root_may_be_the_archives_folder(root: Path) -> None:
    assert len(load(root / "PF-dataset-PASCAL")) == 2


def test_splits_are_those_with_a_list(root: Path) -> None:
    source = PfPascal(PfPascal.Config(), root, root.parent / "cache")
    assert source.splits() == ["trn", "val", "test"]
    (root / "image_pairs" / "val_pairs.csv").unlink()
    assert source.splits() == ["trn", "test"]
    with pytest.raises(
        PeftCorrError, match=r"has no list val_pairs\.csv: put the published one into .*image_pairs"
    ):
        source.load("val")


def test_changed_files_are_read_again(root: Path) -> None:
    load(root, "val")
    pf_pascal_annotation(root, "cat", "2009_000003", [[1, 2], [3, 4], [5, 6], [7.5, 8]])
    assert load(root, "val").table[0]["target_keypoints"] == [[1.0, 2.0], [5.0, 6.0], [7.5, 8.0]]
    load(root)
    picture(root / A, (600, 400))
    assert load(root).table[0]["source_size"] == [600, 400]


def test_annotation_that_is_not_there(root: Path) -> None:
    folder = root / "PF-dataset-PASCAL" / "Annotations"
    (folder / "cat" / "2008_000002.mat").unlink()
    with pytest.raises(
        PeftCorrError, match=r"test_pairs\.csv, line 2: there is no annotation .*2008_000002\.mat"
    ):
        load(root, threshold="box")
    folder.rename(root / "elsewhere")
    with pytest.raises(PeftCorrError, match=r"The boxes \(threshold: box\) .* no folder .*Annotations"):
        load(root, threshold="box")
    with pytest.raises(PeftCorrError, match=r"keypoints of val_pairs\.csv .* no folder .*Annotations"):
        load(root, "val")
    assert len(load(root)) == 2  # which needs none of it


Row = list[object]


def change(index: int, value: object) -> Callable[[Row], Row]:
    return lambda row: [*row[:index], value, *row[index + 1 :]]


@pytest.mark.parametrize(
    ("mutate", "message"),
    [
        (change(2, 21), "class is .21.; it must be less than or equal to 20"),
        (change(2, "cat"), "class is 'cat'; it must be a valid integer"),
        (change(0, ""), "source_image is empty"),
        (
            change(1, f"{JPEG}/2008_00002.jpg"),
            r"target_image names a missing image, .*\. Did you mean '2008_000002",
        ),
        (change(1, "../../../etc/passwd"), "target_image names a missing image, .*JPEGImages/passwd"),
        (change(3, "30.5;x"), r"XA\.1 is 'x'; it must be a valid number"),
        (change(3, ""), r"XA\.0 is ''; it must be a valid number"),
        (change(3, "30.5;nan"), r"XA\.1 is nan; it must be a finite number"),
        (change(4, "inf;1"), r"YA\.0 is inf; it must be a finite number"),
        (change(4, "1e99;1"), r"YA\.0 is 1e\+99; it must be less than or equal to 1000000"),
        (change(3, "1_0;5"), r"XA\.0 is '1_0'; it must be a valid number"),
        (change(5, "1;2;3"), "unequal numbers of keypoints: XA has 2, YA has 2, XB has 3, YB has 2"),
        (change(5, "10;412"), r"XB, YB has \(412, 110\), which lies outside .* 300 px .* \(225 x 300\)"),
        (lambda row: row[:-1], "6 values under 7 columns"),
        (lambda row: [*row, 1], "8 values under 7 columns"),
        (change(0, '"open'), "no valid CSV"),
    ],
)
def test_malformed_row_names_line_and_column(root: Path, mutate: Callable[[Row], Row], message: str) -> None:
    row: Row = [A, B, 8, "30.5;120", "40.25;80", "10;100.125", "20;110"]
    path = pf_pascal_list(root, "test", [row, mutate(row)], HEADER)
    with pytest.raises(PeftCorrError, match=message) as caught:
        load(root)
    assert str(caught.value).startswith(f"{path}, line 3:")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: there is no column source_image"),
        (b"source_image,target_image\n", "line 1: there is no column class"),
        (b"source_image,target_image,class,XA,YA,XB\n", "line 1: there is no column YB"),
        (b"source_image,target_image,class,class\n", "line 1: there are two columns class"),
        (b"source_image,target_image,class\n\n", "lists no pair"),
        (b"source_image,target_image,class\ncaf\xe9,b,8\n", "not UTF-8"),
        (HEADER.encode("utf-16"), "not UTF-8"),
    ],
)
def test_unsound_list(root: Path, content: bytes, message: str) -> None:
    path = root / "image_pairs" / "test_pairs.csv"
    path.write_bytes(content)
    with pytest.raises(PeftCorrError, match=message) as caught:
        load(root)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"bbox": [[1, 2, 3, 4]]}, "the variable kps is missing"),
        ({"kps": "text"}, "kps holds .* it must hold numbers"),
        ({"kps": np.ones((2, 4))}, "kps is 2 x 4; it must be K x 2"),
        ({"kps": np.ones((3, 2))}, "kps has 3 keypoints where .*2008_000001.mat of its class has 4"),
        ({"kps": np.full((4, 2), np.inf)}, r"kps has \(inf, inf\), which lies outside"),
        ({"kps": np.full((4, 2), 1e12)}, "kps has .* which lies outside"),
    ],
)
def test_malformed_keypoints_name_the_file(root: Path, content: dict[str, Any], message: str) -> None:
    path = root / "PF-dataset-PASCAL" / "Annotations" / "cat" / "2009_000003.mat"
    savemat(path, content)
    with pytest.raises(PeftCorrError, match=message) as caught:
        load(root, "val")
    assert str(caught.value).startswith(str(path))


def test_photographs_that_share_no_landmark(root: Path) -> None:
    pf_pascal_annotation(root, "cat", "2009_000003", [[np.nan] * 2] * 4)
    with pytest.raises(PeftCorrError, match=r"val_pairs\.csv, line 2: .* share no keypoint in kps"):
        load(root, "val")


@pytest.mark.parametrize(
    "box",
    [
        (1, 2, 3),
        (50, 20, 10, 90),
        (1, 2, np.nan, 9),
        (1, 2, 9, 1e9),
        (10, 20, 10, 90),
        (10, 20, 80, 20),
        (10, 20, 10, 20),
    ],
)
def test_malformed_box_names_the_file(root: Path, box: tuple[float, ...]) -> None:
    path = pf_pascal_annotation(root, "cat", "2008_000002", [[1, 1]], box)
    with pytest.raises(PeftCorrError, match="bbox is ") as caught:
        load(root, threshold="box")
    assert str(caught.value).startswith(str(path))


def test_damaged_files(root: Path) -> None:
    (root / B).write_bytes(b"no image")
    with pytest.raises(PeftCorrError, match=r"2008_000002\.jpg cannot be decoded"):
        load(root)
    path = root / "PF-dataset-PASCAL" / "Annotations" / "cat" / "2009_000003.mat"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(PeftCorrError, match=r"2009_000003\.mat is no readable MATLAB file"):
        load(root, "val")


def test_missing_root(tmp_path: Path) -> None:
    for root, message in (
        (None, "--data-root pf_pascal=PATH"),
        (tmp_path / "none", "none is not a folder"),
        (tmp_path, "has no PF-dataset-PASCAL/JPEGImages"),
    ):
        with pytest.raises(PeftCorrError, match=message):
            PfPascal(PfPascal.Config(), root, tmp_path / "cache")


def test_real_pairs_have_the_coordinates_of_the_list(shared_root: Path, tmp_path: Path) -> None:
    root = shared_root / "data" / "pf-pascal"
    source = PfPascal(PfPascal.Config(), root, tmp_path)
    assert source.splits() == ["test"]
    dataset = source.load("test")
    with (root / "image_pairs" / "test_pairs.csv").open(encoding="utf-8") as stream:
        published = list(csv.DictReader(stream))
    assert len(dataset) == len(published) == 65
    assert len(set(dataset.table["source_image"]) | set(dataset.table["target_image"])) == 108
    for row, listed in zip(dataset.table, published, strict=True):
        for side, x, y in (("source", "XA", "YA"), ("target", "XB", "YB")):
            points = zip(listed[x].split(";"), listed[y].split(";"), strict=True)
            assert row[f"{side}_keypoints"] == [[float(a), float(b)] for a, b in points]
            assert listed[f"{side}_image"].endswith("/" + row[f"{side}_image"])
        assert row["reference_length"] == 300.0
        assert row["category"] == CLASSES[int(listed["class"]) - 1]

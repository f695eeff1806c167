"""Which rectangle a reference length belongs to, on the loaders' own tables and on lengths that fit nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from peftcorr.data.base import PairDataset
from peftcorr.data.columns import PAIR_FEATURES
from peftcorr.data.correspondences import correspondences
from peftcorr.data.layouts.pf_willow import PfWillow
from peftcorr.data.layouts.spair import SpairFolder
from peftcorr.data.reference import reference_sides, reversed_pairs
from peftcorr.errors import PeftCorrError


def table_of(*pairs: dict[str, Any]) -> PairDataset:
    rows = []
    for number, pair in enumerate(pairs):
        row: dict[str, Any] = dict.fromkeys(PAIR_FEATURES)
        points = pair.pop("points", [[10.0, 20.0], [40.0, 25.0]])
        row |= {
            "pair_id": str(number), "category": "cat", "source_image": f"{2 * number:03d}.jpg",
            "target_image": f"{2 * number + 1:03d}.jpg", "source_size": [], "target_size": [],
            "source_keypoints": points, "target_keypoints": points,
            "keypoint_ids": [str(k) for k in range(len(points))], "source_box": [], "target_box": [],
        }  # fmt: skip
        rows.append({**row, **pair})
    return PairDataset("made", "test", Path(), datasets.Dataset.from_list(rows, features=PAIR_FEATURES))


def sides(dataset: PairDataset, width: int = 100, height: int = 60) -> list[list[float]]:
    data = correspondences(dataset)
    sizes = np.tile(np.array([[width, height]], dtype=np.int32), (len(data.images), 1))
    return reference_sides(data, sizes).tolist()


def test_box_image_and_keypoints() -> None:
    found = sides(
        table_of(
            {"reference_length": 31.5, "target_box": [5, 6, 25, 37.5]},
            {"reference_length": 100.0, "target_box": [5, 6, 25, 37.5]},
            {"reference_length": 30.0},
            {"reference_length": 77.0, "target_box": [5, 6, 25, 37.5]},
            {"reference_length": 30.0, "points": []},
        )
    )
    assert found[:3] == [[20.0, 31.5], [100.0, 60.0], [30.0, 5.0]]
    assert np.isnan(found[3:]).all()


def test_reversed_pairs_have_the_sources_length_by_the_same_rule() -> None:
    boxes = {"source_box": [1.0, 1.0, 41.0, 21.0], "target_box": [5.0, 6.0, 25.0, 37.5]}
    data = correspondences(
        table_of(
            {"reference_length": 31.5, **boxes},
            {"reference_length": 100.0, **boxes},  # the image
            {
                "reference_length": 30.0,
                **boxes,
                "source_keypoints": [[1.0, 2.0], [3.0, 12.0]],
            },  # the keypoints
        )
    )
    sizes = np.array([[80, 90] if image % 2 == 0 else [100, 60] for image in range(6)], dtype=np.int32)
    found = reversed_pairs(data, sizes)
    assert found.reference_length.tolist() == [40.0, 90.0, 10.0]
    np.testing.assert_array_equal(found.source_points, data.target_points)
    np.testing.assert_array_equal(found.target, data.source)
    assert reference_sides(found, sizes).tolist() == [[40.0, 20.0], [80.0, 90.0], [2.0, 10.0]]


def test_pairs_that_cannot_be_reversed_say_why() -> None:
    sizes = np.array([[100, 60]] * 2, dtype=np.int32)
    data = correspondences(table_of({"reference_length": 31.5, "target_box": [5, 6, 25, 37.5]}))
    with pytest.raises(PeftCorrError, match="Pair 0 cannot be scored from target to source"):
        reversed_pairs(data, sizes)
    hidden = replace(data, occluded=np.zeros(len(data), dtype=bool))
    with pytest.raises(PeftCorrError, match="hides keypoints"):
        reversed_pairs(hidden, sizes)


def test_an_annotated_box_goes_before_another_rectangle_as_long() -> None:
    box = [0.0, 0.0, 30.0, 12.0]
    assert sides(table_of({"reference_length": 30.0, "target_box": box})) == [[30.0, 12.0]]
    assert sides(table_of({"reference_length": 30.0}), 30, 20) == [[30.0, 20.0]]


def test_rounding_of_a_box_given_by_its_corner_and_sides() -> None:
    x, width = 300.7, 33.3
    assert (x + width) - x != width
    [found] = sides(table_of({"reference_length": width, "target_box": [x, 1.0, x + width, 2.0]}))
    assert found == pytest.approx([width, 1.0], rel=1e-12)


def test_every_pair_of_the_loaders_has_one(spair: Any, willow_root: Path, tmp_path: Path) -> None:
    farm = SpairFolder(SpairFolder.Config(), spair.write(), tmp_path / "cache").load("test")
    assert sides(farm, 60, 40) == [[42.0, 25.0]] * len(farm)
    assert sides(farm.limited(5), 60, 40) == [[42.0, 25.0]] * 5
    willow = PfWillow(PfWillow.Config(), willow_root, tmp_path / "cache").load("test")
    for found, row in zip(sides(willow, 60, 45), willow.table, strict=True):
        xs, ys = zip(*row["target_keypoints"], strict=True)
        assert found == [max(xs) - min(xs), max(ys) - min(ys)]
        assert max(found) == row["reference_length"]

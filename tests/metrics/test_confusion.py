"""Left and right on tables made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from peftcorr.metrics.confusion import confusions
from tests.metrics.made import Row, row, table

LEFT, RIGHT = {"keypoint_id": "left_ear"}, {"keypoint_id": "right_ear"}


def flags(rows: list[Row]) -> tuple[list[bool], list[bool]]:
    mirrored, confused = confusions("farm", table(rows))
    return mirrored.tolist(), confused.tolist()


def test_nearer_to_the_mirrored_keypoint_is_a_confusion() -> None:
    """Ears at x = 40 and 60, nose at 50: 51 for the left ear is nearer to the right one, 50 is not."""
    places: list[tuple[dict[str, Any], float, float]] = [
        (LEFT, 40, 51), (RIGHT, 60, 50), ({"keypoint_id": "nose"}, 50, 60),
    ]  # fmt: skip
    rows = [row(**name, truth_x=float(x), prediction_x=float(p)) for name, x, p in places]
    assert flags(rows) == ([True, True, False], [True, False, False])


def test_far_from_both_still_counts_by_which_is_nearer() -> None:
    rows = [row(**LEFT, truth_x=40.0, prediction_x=900.0), row(**RIGHT, truth_x=60.0, prediction_x=900.0)]
    assert flags(rows) == ([True, True], [True, False])


def test_without_the_mirror_in_the_target_nothing_is_counted() -> None:
    assert flags([row(**LEFT, prediction_x=900.0)]) == ([False], [False])


@pytest.mark.parametrize("side", ["source", "target"])
def test_the_mirror_may_be_annotated_in_another_pair_of_the_same_image(side: str) -> None:
    """b.jpg is the target; its right ear is only in a pair where it is on the given side."""
    at = {"source_x": 60.0, "source_y": 50.0} if side == "source" else {"truth_x": 60.0}
    images = ("b.jpg", "c.jpg") if side == "source" else ("c.jpg", "b.jpg")
    rows = [
        row(**LEFT, truth_x=40.0, prediction_x=59.0),
        row(**RIGHT, **at, pair=1, pair_id="1", source_image=images[0], target_image=images[1]),
    ]
    assert flags(rows)[0][0]
    assert flags(rows)[1][0]
    other = [
        rows[0],
        {**rows[1], "category": "dog"},
    ]  # the same file under another category is another object
    assert flags(other) == ([False, False], [False, False])


def test_another_object_in_the_same_photograph_has_ears_of_its_own() -> None:
    """b.jpg shows a cat, whose right ear is annotated in no pair of it, and a dog, whose right ear is."""
    rows = [
        row(**LEFT, truth_x=40.0, prediction_x=59.0),
        row(**RIGHT, truth_x=60.0, pair=1, pair_id="1", source_image="c.jpg", target_image="d.jpg"),
        row(**RIGHT, truth_x=60.0, pair=2, pair_id="2", category="dog", source_image="e.jpg"),
        row(
            **LEFT,
            truth_x=40.0,
            pair=3,
            pair_id="3",
            category="dog",
            source_image="e.jpg",
            target_image="f.jpg",
        ),
    ]
    assert flags(rows)[0] == [False] * 4
    assert flags([{**r, "category": "cat"} for r in rows])[0][0]


def test_two_pairs_that_disagree_where_the_mirror_is_do_not_count() -> None:
    """Two animals in one photograph: which right ear is meant cannot be told."""
    rows = [
        row(**LEFT, truth_x=40.0, prediction_x=59.0),
        row(**RIGHT, truth_x=60.0, pair=1, pair_id="1", source_image="c.jpg"),
        row(**RIGHT, truth_x=200.0, pair=2, pair_id="2", source_image="d.jpg"),
    ]
    assert flags(rows)[0][0] is False
    rows.append(row(**RIGHT, truth_x=60.0))  # its own pair says it
    assert flags(rows)[0][0] is True


def test_an_image_of_another_name_is_not_asked() -> None:
    rows = [row(**LEFT, prediction_x=90.0), row(**RIGHT, pair=1, pair_id="1", target_image="z.jpg")]
    assert not np.any(flags(rows))

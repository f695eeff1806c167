from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.metrics.bootstrap import intervals
from peftcorr.metrics.compare import Difference, compare
from peftcorr.metrics.pair_scores import pair_scores
from tests.metrics.made import Row, drawn, table

ALPHAS = [0.05, 0.1]
IMAGES = {"cat": 7, "dog": 8}


def better(rows: list[Row], share: float) -> list[Row]:
    """The same run with every offset made smaller."""
    return [{**r, "prediction_x": r["truth_x"] + share * (r["prediction_x"] - r["truth_x"])} for r in rows]


def found(first: list[Row], second: list[Row], *predictors: str, **options: Any) -> list[Difference]:
    return compare([table(first)], [table(second)], ALPHAS, predictors, resamples=300, **options)


def test_a_run_does_not_differ_from_itself() -> None:
    rows = drawn(0, IMAGES)
    result = found(rows, rows)
    assert len(result) == 8
    for one in result:
        assert (one.difference, one.interval, one.p_value) == (0.0, (0.0, 0.0), 1.0)
        assert one.scores[0] == one.scores[1]


def test_a_better_run_is_better_and_the_order_turns_the_sign() -> None:
    rows = drawn(0, IMAGES)
    for one, turned in zip(found(rows, better(rows, 0.5)), found(better(rows, 0.5), rows), strict=True):
        assert one.interval is not None
        assert turned.interval is not None
        assert one.difference > 5
        assert one.difference == pytest.approx(one.scores[1] - one.scores[0])
        assert one.interval[0] > 0
        assert one.p_value is not None
        assert 0 < one.p_value <= 2 / 301
        assert turned.difference == pytest.approx(-one.difference)
        assert turned.interval == pytest.approx((-one.interval[1], -one.interval[0]), abs=1e-9)


def test_what_is_far_beyond_chance_stays_so_among_many_comparisons() -> None:
    """72 rows, each with a p-value that 300 draws cannot count: none may be lost to the correction for all."""
    rows = drawn(0, IMAGES)
    far = [{**row, "prediction_x": row["truth_x"] + 200.0} for row in rows]
    parts = [{"dataset": name, "predictor": how} for name in "abc" for how in ("one", "other", "third")]
    first, second = ([{**row, **part} for part in parts for row in run] for run in (far, rows))
    result = found(first, second)
    assert len(result) == 72
    assert all(one.corrected is not None and one.corrected < 0.05 for one in result)


def test_what_makes_an_image_easy_for_both_cancels() -> None:
    rows = drawn(0, IMAGES)
    one = found(rows, better(rows, 0.9))[1]
    assert (one.aggregate, one.alpha) == ("per_keypoint", "0.1")
    assert one.interval is not None
    ends = intervals(pair_scores(table(rows), ALPHAS), 300)
    assert ends is not None
    low, high = ends[0, 1]
    assert one.interval[1] - one.interval[0] < 0.4 * (high - low)


def test_p_values_are_uniform_where_there_is_no_difference() -> None:
    """Two runs whose errors are drawn apart: about one in twenty is significant, not one in three."""
    values = [
        found(drawn(2 * seed, {"cat": 8}, keypoints=3), drawn(2 * seed + 1, {"cat": 8}, keypoints=3))[
            1
        ].p_value
        for seed in range(40)
    ]
    significant = np.mean([value is not None and value < 0.05 for value in values])
    assert significant <= 0.15
    assert np.mean([value is not None and value < 0.5 for value in values]) > 0.25


def test_predictors_are_paired_by_name_or_as_asked() -> None:
    rows = drawn(0, {"cat": 5})
    both = [*rows, *({**r, "predictor": "window"} for r in better(rows, 0.5))]
    assert [one.predictors for one in found(both, both)[::8]] == [("argmax", "argmax"), ("window", "window")]
    [*named] = found(both, both, "argmax", "window")
    assert {one.predictors for one in named} == {("argmax", "window")}
    assert named[0].difference > 0
    with pytest.raises(PeftCorrError, match=r"not scored with 'windw'.* Did you mean 'window'"):
        found(both, both, "windw")
    with pytest.raises(
        PeftCorrError, match=r"runs A and B have no predictor in common on farm/test.*--predictor"
    ):
        found(rows, both[len(rows) :])


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = drawn(0, IMAGES)
    other = better(rows, 0.8)
    for one, same in zip(found(rows, other), found(rows[::-1], other), strict=True):
        assert one.interval == pytest.approx(same.interval, abs=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoint_id": "99"}, "keypoint 99 of pair 00003:cat is in B alone"),
        (
            {"truth_x": 1.5},
            "truth_x of keypoint 0 of pair 00003:cat is .* in A and 1.5 in B",
        ),
        ({"reference_length": 7.0}, "reference_length of keypoint 0 of pair 00003:cat is 100.0 in A"),
        ({"target_image": "cat/other.jpg"}, "target_image of keypoint 0 of pair 00003:cat"),
    ],
)
def test_other_keypoints_are_refused_and_the_first_is_named(change: Row, message: str) -> None:
    rows = drawn(0, {"cat": 4}, keypoints=1)
    other = [{**r, **change} if r["pair"] == 3 else r for r in rows]
    if "keypoint_id" in change:  # keypoint 0 of that pair is then missing, and comes first
        message = "keypoint 0 of pair 00003:cat is in A alone"
    with pytest.raises(PeftCorrError, match=f"not have the same keypoints on farm/test: {message}"):
        found(rows, other)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("source_image", "cat/other.jpg"), ("target_image", "cat/other.jpg"),
        ("source_x", 0.25), ("source_y", 0.25), ("truth_x", 1.5), ("truth_y", 1.5), ("reference_length", 7.0),
        ("target_width", 41), ("target_height", 41), ("reference_width", 41.0), ("reference_height", 41.0),
        ("target_occluded", True),
    ],
)  # fmt: skip
def test_whatever_decides_a_score_must_be_the_same_in_both(column: str, value: object) -> None:
    """Hidden points are not scored: a point that one run has as hidden and the other as shown is none of both."""
    sizes = {"target_width": 40, "target_height": 40, "reference_width": 40.0, "reference_height": 40.0}
    rows = [{**r, **sizes, "target_occluded": False} for r in drawn(0, {"cat": 4}, keypoints=1)]
    other = [{**r, column: value} if r["pair"] == 3 else r for r in rows]
    with pytest.raises(PeftCorrError, match=f"farm/test: {column} of keypoint 0 of pair 00003:cat is "):
        found(rows, other)


def test_the_seed_draws_other_images() -> None:
    rows = drawn(0, IMAGES)
    ends = [[one.interval for one in found(rows, better(rows, 0.8), seed=seed)] for seed in (0, 0, 1)]
    assert ends[0] == ends[1] != ends[2]


def test_a_pair_less_is_refused() -> None:
    rows = drawn(0, {"cat": 4}, keypoints=1)
    with pytest.raises(PeftCorrError, match="of pair 00011:cat is in A alone"):
        found(rows, [r for r in rows if r["pair"] != 11])
    with pytest.raises(PeftCorrError, match="of pair 00000:cat is in B alone"):
        found([r for r in rows if r["pair"] != 0], rows)


def test_splits_that_only_one_has_are_left_out_and_none_in_common_is_an_error() -> None:
    rows = drawn(0, {"cat": 4})
    more = [*rows, *({**r, "dataset": "zoo"} for r in rows)]
    assert {one.split for one in found(more, rows)} == {"farm/test"}
    with pytest.raises(PeftCorrError, match="no split in common: one has farm/test, the other zoo/test"):
        found(rows, more[len(rows) :])


def test_a_small_category_leaves_the_pooled_differences_alone_with_an_interval() -> None:
    rows = drawn(0, {"cat": 3, "dog": 8})
    for one in found(rows, better(rows, 0.5)):
        pooled = one.aggregate in ("per_keypoint", "per_image")
        assert ((one.interval is None), (one.p_value is None)) == (not pooled, not pooled)


def test_three_images_give_a_difference_without_interval() -> None:
    rows = drawn(0, {"cat": 3})
    for one in found(rows, better(rows, 0.5)):
        assert (one.interval, one.p_value) == (None, None)

from __future__ import annotations

import numpy as np
import pytest

from peftcorr.metrics.aggregate import score_predictions
from peftcorr.metrics.breakdown import CURVE, Breakdown, breakdown
from tests.metrics.made import Row, drawn, row, table

ALPHAS = [0.05, 0.1]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return drawn(0, {"cat": 5, "dog": 6}, keypoints=8)


@pytest.fixture(scope="module")
def found(rows: list[Row]) -> Breakdown:
    return breakdown("farm", table(rows), ALPHAS)


def test_every_group_equals_the_scores_of_its_pairs_alone(rows: list[Row], found: Breakdown) -> None:
    size: dict[int, int] = {}
    for one in rows:
        size[one["pair"]] = size.get(one["pair"], 0) + 1
    value = {
        "category": lambda r: r["category"],
        "viewpoint": lambda r: ("easy", "medium", "hard")[r["viewpoint_variation"]],
        "truncation": lambda r: ("none", "source", "target", "both")[r["truncation"]],
        "keypoints": lambda r: "1-2" if size[r["pair"]] < 3 else "3-5" if size[r["pair"]] < 6 else "6-10",
    }
    assert list(found.factors) == [
        "category",
        "viewpoint",
        "truncation",
        "keypoints",
    ]  # no scale, no occlusion
    for factor, groups in found.factors.items():
        assert sum(group.n_pairs for group in groups) == len(size)
        for group in groups:
            members = [one for one in rows if value[factor](one) == group.value]
            expected = score_predictions(table(members), ALPHAS)["farm/test"]["argmax"]
            assert (group.n_pairs, group.n_keypoints) == (expected.n_pairs, expected.n_keypoints)
            assert group.scores[0] == pytest.approx(list(expected.per_keypoint.values()), abs=1e-10)
            assert group.scores[1] == pytest.approx(list(expected.per_image.values()), abs=1e-10)
            assert group.intervals is not None
            assert (group.intervals[..., 0] <= group.scores).all()
            assert (group.scores <= group.intervals[..., 1]).all()


def test_the_curve_rises_and_meets_the_scores(found: Breakdown) -> None:
    assert (CURVE[0], CURVE[-1], len(CURVE)) == (0.01, 0.3, 30)
    assert (np.diff(found.curve, axis=1) >= 0).all()
    for column, alpha in enumerate(ALPHAS):
        assert found.curve[:, CURVE.index(alpha)] == pytest.approx(found.whole.scores[:, column], abs=1e-10)


def test_hidden_points_are_in_no_group(rows: list[Row]) -> None:
    """Their truth is no place in the image: with them everything is as without them."""
    shown = [{**one, "target_occluded": False} for one in rows]
    hidden = [
        {**one, "target_occluded": True, "keypoint_id": f"h{one['keypoint_id']}", "prediction_x": 900.0}
        for one in rows[::3]
    ]
    whole, alone = (breakdown("farm", table(part), ALPHAS) for part in ([*shown, *hidden], shown))
    assert whole.whole.n_keypoints == alone.whole.n_keypoints == len(rows)
    assert np.array_equal(whole.curve, alone.curve)
    for factor, groups in alone.factors.items():
        for one, other in zip(groups, whole.factors[factor], strict=True):
            assert (one.value, one.n_pairs, one.n_keypoints) == (
                other.value,
                other.n_pairs,
                other.n_keypoints,
            )
            assert np.array_equal(one.scores, other.scores)


def test_left_and_right_by_category() -> None:
    rows = [
        row(pair=pair, pair_id=str(pair), category=category, keypoint_id=name, truth_x=x, prediction_x=p)
        for pair, category, name, x, p in (
            (0, "cat", "left_eye", 10.0, 19.0), (0, "cat", "right_eye", 20.0, 20.0), (0, "cat", "nose", 15.0, 0.0),
            (1, "dog", "left_eye", 10.0, 11.0), (1, "dog", "right_eye", 20.0, 19.0), (2, "emu", "beak", 1.0, 9.0),
        )
    ]  # fmt: skip
    sides = breakdown("farm", table(rows), ALPHAS).sides
    assert [(s.category, s.mirrored, s.confused) for s in sides] == [
        ("all", 4, 1),
        ("cat", 2, 1),
        ("dog", 2, 0),
    ]


def test_a_dataset_without_left_and_right_has_no_such_table(found: Breakdown) -> None:
    assert found.sides == []

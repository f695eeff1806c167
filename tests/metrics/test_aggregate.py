from __future__ import annotations

import math
import random
from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.metrics.aggregate import aggregate, score_predictions
from peftcorr.metrics.scores import Scores
from peftcorr.predictions import PREDICTION_SCHEMA

ALPHAS = [0.05, 0.1, 0.2]


def random_keypoints(seed: int, n_pairs: int = 60) -> list[dict[str, Any]]:
    """Keypoints of pairs with 1 to 20 keypoints each, shuffled."""
    draw = random.Random(seed)
    rows = []
    for pair in draw.sample(range(1000), n_pairs):
        category, length = draw.choice(["cat", "car", "Zug", "être"]), draw.uniform(20, 300)
        for keypoint in range(draw.randint(1, 20)):
            x, y = draw.uniform(0, 400), draw.uniform(0, 400)
            shift = draw.expovariate(1 / (0.12 * length))
            angle = draw.uniform(0, math.tau)
            rows.append(
                {
                    "dataset": "birds",
                    "split": "test",
                    "predictor": "argmax",
                    "pair": pair,
                    "pair_id": f"pair-{pair}:{category}",
                    "category": category,
                    "source_image": "a.jpg",
                    "target_image": "b.jpg",
                    "keypoint_id": str(keypoint),
                    "source_x": 0.0,
                    "source_y": 0.0,
                    "truth_x": x,
                    "truth_y": y,
                    "prediction_x": x + shift * math.cos(angle),
                    "prediction_y": y + shift * math.sin(angle),
                    "reference_length": length,
                }
            )
    draw.shuffle(rows)
    return rows


def brute_force(rows: list[dict[str, Any]], alpha: float) -> tuple[float, float]:
    """PCK per keypoint and per image, in percent, one keypoint after the other."""
    hits: dict[int, list[bool]] = defaultdict(list)
    for row in rows:
        dx, dy = row["prediction_x"] - row["truth_x"], row["prediction_y"] - row["truth_y"]
        hits[row["pair"]].append(math.sqrt(dx * dx + dy * dy) <= alpha * row["reference_length"])
    flat = [hit for pair in hits.values() for hit in pair]
    shares = [sum(pair) / len(pair) for pair in hits.values()]
    return 100 * sum(flat) / len(flat), 100 * math.fsum(shares) / len(shares)


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA)


def score(rows: list[dict[str, Any]], alphas: list[float] = ALPHAS) -> Scores:
    return score_predictions(table_of(rows), alphas)["birds/test"]["argmax"]


@pytest.mark.parametrize("seed", range(5))
def test_every_aggregate_equals_one_computed_keypoint_by_keypoint(seed: int) -> None:
    rows = random_keypoints(seed)
    scores = score(rows)
    by_category: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_category[row["category"]].append(row)
    assert scores.n_keypoints == len(rows)
    assert scores.n_pairs == len({row["pair"] for row in rows})
    assert set(scores.per_category) == set(by_category)
    for alpha in ALPHAS:
        key = f"{alpha:g}"
        per_keypoint, per_image = brute_force(rows, alpha)
        assert scores.per_keypoint[key] == pytest.approx(per_keypoint, abs=1e-12)
        assert scores.per_image[key] == pytest.approx(per_image, abs=1e-12)
        expected = {category: brute_force(members, alpha) for category, members in by_category.items()}
        for category, (of_keypoints, of_images) in expected.items():
            found = scores.per_category[category]
            assert found.per_keypoint[key] == pytest.approx(of_keypoints, abs=1e-12)
            assert found.per_image[key] == pytest.approx(of_images, abs=1e-12)
            assert found.n_keypoints == len(by_category[category])
            assert found.n_pairs == len({row["pair"] for row in by_category[category]})
        means = [math.fsum(values) / len(expected) for values in zip(*expected.values(), strict=True)]
        assert scores.category_mean.per_keypoint[key] == pytest.approx(means[0], abs=1e-12)
        assert scores.category_mean.per_image[key] == pytest.approx(means[1], abs=1e-12)


def test_order_of_rows_does_not_change_a_bit() -> None:
    rows = random_keypoints(7, n_pairs=200)
    shuffled = random.Random(1).sample(rows, len(rows))
    assert score(rows) == score(shuffled)


def test_distance_of_exactly_alpha_times_length_is_correct() -> None:
    """A 3-4-5 triangle: 5 pixels off is right at 0.1 with s = 50, and wrong with a hair less."""
    for length, correct in ((50.0, 100.0), (50.0 - 1e-13, 0.0)):
        scores = aggregate([[13.0, 24.0]], [[10.0, 20.0]], [length], [0], ["cat"], [0.1])
        assert scores.per_keypoint == {"0.1": correct}


def test_worked_example() -> None:
    """Pair 4 has two of four right, pair 9 its only one: 3/5 per keypoint, (1/2 + 1)/2 per image."""
    off = [0.0, 10.0, 11.0, 40.0, 5.0]
    scores = aggregate(
        [[x, 0.0] for x in off],
        np.zeros((5, 2)),
        [100.0] * 5,
        [4, 4, 4, 4, 9],
        ["car", "car", "car", "car", "cat"],
        [0.1, 0.05],
    )
    assert scores.per_keypoint == {"0.1": 60.0, "0.05": 40.0}
    assert scores.per_image == {"0.1": 75.0, "0.05": 62.5}
    assert scores.per_category["car"].per_keypoint == {"0.1": 50.0, "0.05": 25.0}
    assert scores.per_category["car"].per_image == {"0.1": 50.0, "0.05": 25.0}
    assert scores.per_category["cat"].per_image == {"0.1": 100.0, "0.05": 100.0}
    assert (scores.per_category["cat"].n_pairs, scores.per_category["cat"].n_keypoints) == (1, 1)
    assert scores.category_mean.per_keypoint == {"0.1": 75.0, "0.05": 62.5}
    assert (scores.n_pairs, scores.n_keypoints) == (2, 5)


def test_single_keypoint_pairs_make_both_aggregates_equal() -> None:
    rows = [{**row, "pair": index} for index, row in enumerate(random_keypoints(3))]
    scores = score(rows)
    assert scores.per_keypoint == pytest.approx(scores.per_image, abs=1e-12)


def test_predictors_and_datasets_are_scored_apart_and_across_chunks() -> None:
    rows = random_keypoints(11)
    worse = [{**row, "predictor": "softargmax", "prediction_x": row["prediction_x"] + 500} for row in rows]
    other = [{**row, "dataset": "cars", "split": "val"} for row in rows[:50]]
    # Each chunk brings its own dictionary, as batches that were written apart do.
    table = pa.concat_tables([table_of(part) for part in (worse[:100], rows, other, worse[100:])])
    scores = score_predictions(table, ALPHAS)
    assert list(scores) == ["birds/test", "cars/val"]
    assert scores["birds/test"]["argmax"] == score(rows)
    assert scores["birds/test"]["softargmax"].per_keypoint["0.2"] == 0.0
    assert scores["cars/val"]["argmax"].n_keypoints == 50


def test_plain_string_columns_are_taken_too() -> None:
    rows = random_keypoints(2)
    assert score_predictions(pa.Table.from_pylist(rows), ALPHAS)["birds/test"]["argmax"] == score(rows)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("column", ["prediction_x", "prediction_y", "truth_x", "reference_length"])
def test_non_finite_numbers_are_refused_and_the_pair_is_named(column: str, value: float) -> None:
    rows = random_keypoints(0)
    rows[17][column] = value
    with pytest.raises(PeftCorrError, match=rf"not finite|no positive number.*{rows[17]['pair_id']}"):
        score(rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference_lengths": [0.0, 1.0]}, "reference length is no positive number in pair 7"),
        ({"categories": ["cat", "dog"]}, "pair has two categories in pair 7"),
        ({"pairs": [7]}, "differ in number"),
        ({"predictions": [[0.0], [0.0]]}, r"shape \(N, 2\)"),
        ({"alphas": []}, "thresholds must be positive"),
        ({"alphas": [-0.1]}, "thresholds must be positive"),
        ({"alphas": [0.1, 0.1]}, "must differ"),
    ],
)
def test_bad_input_gives_one_clear_sentence(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "predictions": [[0.0, 0.0], [1.0, 1.0]],
        "references": [[0.0, 0.0], [1.0, 1.0]],
        "reference_lengths": [1.0, 1.0],
        "pairs": [7, 7],
        "categories": ["cat", "cat"],
        "alphas": [0.1],
    }
    with pytest.raises(PeftCorrError, match=message):
        aggregate(**{**good, **change})


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(PeftCorrError, match="no keypoints"):
        score_predictions(table_of([]), ALPHAS)
    with pytest.raises(PeftCorrError, match="no keypoints"):
        aggregate([], [], [], [], [], ALPHAS)

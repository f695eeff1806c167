from __future__ import annotations

import random
import subprocess
import sys
import time
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from peftcorr.metrics.aggregate import score_predictions
from peftcorr.metrics.bootstrap import (
    add_intervals,
    estimates,
    influences,
    intervals,
    replicates,
    resampled_counts,
    spread,
    strata,
)
from peftcorr.metrics.pair_scores import PairScores, pair_scores
from peftcorr.metrics.scores import Scores
from tests.metrics.made import drawn, table

ALPHAS = [0.05, 0.1, 0.2]
IMAGES = {"dog": 5, "cat": 4, "zebra": 6}


def hits(rows: list[dict[str, Any]], alpha: float) -> list[bool]:
    return [
        ((r["prediction_x"] - r["truth_x"]) ** 2 + (r["prediction_y"] - r["truth_y"]) ** 2) ** 0.5
        <= alpha * r["reference_length"]
        for r in rows
    ]


def by_hand(rows: list[dict[str, Any]], count: dict[str, int], alpha: float) -> list[float]:
    """The four aggregates with every pair written down as often as it counts, keypoint by keypoint."""
    pairs: dict[int, list[dict[str, Any]]] = {}
    for one in rows:
        pairs.setdefault(one["pair"], []).append(one)
    copies: dict[str, list[list[bool]]] = {}
    for members in pairs.values():
        for _ in range(count[members[0]["source_image"]] * count[members[0]["target_image"]]):
            copies.setdefault(members[0]["category"], []).append(hits(members, alpha))
    every = [pair for of_category in copies.values() for pair in of_category]
    keypoints = {category: fmean(hit for pair in found for hit in pair) for category, found in copies.items()}
    shares = {category: fmean(fmean(pair) for pair in found) for category, found in copies.items()}
    return [
        100 * fmean(hit for pair in every for hit in pair),
        100 * fmean(fmean(pair) for pair in every),
        100 * fmean(keypoints.values()),
        100 * fmean(shares.values()),
    ]


def test_resamples_equal_a_loop_that_writes_every_pair_down_as_often_as_it_counts() -> None:
    rows = drawn(3, IMAGES, share=0.7)
    pairs = pair_scores(table(rows), ALPHAS)
    names = sorted({(r["category"], r[end]) for r in rows for end in ("source_image", "target_image")})
    [counts] = resampled_counts(pairs, 8, seed=5)
    found = replicates(pairs, 8, seed=5)
    for number in range(8):
        count = {path: int(counts[number, index]) for index, (_, path) in enumerate(names)}
        for column, alpha in enumerate(ALPHAS):
            assert found[number, :, column] == pytest.approx(by_hand(rows, count, alpha), abs=1e-10)


def test_every_category_keeps_its_number_of_images() -> None:
    pairs = pair_scores(table(drawn(0, IMAGES)), ALPHAS)
    blocks = list(resampled_counts(pairs, 600, seed=0))
    counts = np.concatenate(blocks)
    assert len(blocks) == 3
    assert counts.shape == (600, 15)
    for category, number in enumerate((4, 5, 6)):  # in the order of their names
        assert (counts[:, pairs.category_of_image == category].sum(axis=1) == number).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(15), abs=0.15)


def test_estimates_are_those_of_the_record() -> None:
    rows = drawn(1, IMAGES)
    scores = score_predictions(table(rows), ALPHAS)["farm/test"]["argmax"]
    expected = [
        scores.per_keypoint,
        scores.per_image,
        scores.category_mean.per_keypoint,
        scores.category_mean.per_image,
    ]
    found = estimates(pair_scores(table(rows), ALPHAS))
    for values, row in zip(expected, found, strict=True):
        assert row == pytest.approx(list(values.values()), abs=1e-10)


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = drawn(2, IMAGES)
    shuffled = random.Random(0).sample(rows, len(rows))
    first, second = (intervals(pair_scores(table(part), ALPHAS)) for part in (rows, shuffled))
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-9)


def test_an_interval_holds_its_score_and_has_the_width_of_the_robust_standard_error() -> None:
    pairs = pair_scores(table(drawn(4, {"cat": 12, "dog": 12})), ALPHAS)
    found, score = intervals(pairs), estimates(pairs)
    assert found is not None
    assert (found[..., 0] < score).all()
    assert (score < found[..., 1]).all()
    error, freedom = spread(pairs, influences(pairs).reshape(12, -1))
    half = (found[..., 1] - found[..., 0]).reshape(-1) / 2
    # Student's quantile at the given degrees of freedom lies between 2.0 and 2.3 here; the shape moves it a little.
    assert (freedom > 11).all()
    assert ((half / error > 1.8) & (half / error < 2.5)).all()


def test_influences_are_what_leaving_a_pair_out_does() -> None:
    rows = drawn(6, {"cat": 7, "dog": 9})
    pairs = pair_scores(table(rows), ALPHAS)
    found = influences(pairs)
    np.testing.assert_allclose(found.sum(axis=2), 0, atol=1e-9)
    keep = np.ones(len(pairs), dtype=bool)
    keep[17] = False
    change = estimates(pairs) - estimates(pairs.subset(keep))
    np.testing.assert_allclose(found[:, :, 17], change, atol=0.1)  # to first order in 1 / pairs


def test_images_are_drawn_from_the_seed() -> None:
    """Of one category: the generator's own numbers, row by row; in every block it goes on where it was."""
    pairs = pair_scores(table(drawn(0, {"cat": 5})), ALPHAS)
    for seed in (0, 7):
        generator = np.random.default_rng(seed)
        expected = [np.bincount(generator.integers(0, 5, size=5), minlength=5) for _ in range(300)]
        assert np.array_equal(np.concatenate(list(resampled_counts(pairs, 300, seed))), expected)
    ends = [intervals(pairs, 300, seed) for seed in (0, 0, 7)]
    assert np.array_equal(ends[0], ends[1])
    assert not np.array_equal(ends[0], ends[2])


def test_the_interval_of_a_record_has_its_seed_and_number_of_resamples() -> None:
    rows = table(drawn(0, {"cat": 5}))
    for options in ({}, {"seed": 3}, {"resamples": 100}):
        scores = score_predictions(rows, ALPHAS)
        add_intervals(scores, rows, ALPHAS, **options)
        expected = intervals(pair_scores(rows, ALPHAS), **{"resamples": 2000, "seed": 0, **options})
        assert expected is not None
        found = scores["farm/test"]["argmax"].intervals
        assert found is not None
        assert found["per_image"]["0.1"] == pytest.approx(expected[1, 1], abs=1e-4)


def test_three_images_give_no_interval() -> None:
    rows = drawn(0, {"cat": 3})
    assert intervals(pair_scores(table(rows), ALPHAS)) is None
    assert scored(rows).intervals == {}


def test_a_category_of_three_images_leaves_the_pooled_scores_alone_with_an_interval() -> None:
    rows = drawn(0, {"cat": 3, "cow": 2, "dog": 8})
    assert set(scored(rows).intervals or {}) == {"per_keypoint", "per_image"}
    pairs = pair_scores(table(rows), ALPHAS)
    assert np.bincount(strata(pairs)).tolist() == [5, 8]  # the two small ones share a stratum


def test_one_small_category_joins_the_next_smallest() -> None:
    pairs = pair_scores(table(drawn(0, {"cat": 6, "cow": 2, "dog": 8})), ALPHAS)
    assert sorted(np.bincount(strata(pairs)).tolist()) == [8, 8]


def test_all_right_is_an_interval_without_width() -> None:
    rows = [{**row, "prediction_x": row["truth_x"]} for row in drawn(0, {"cat": 5})]
    assert (scored(rows).intervals or {})["per_keypoint"]["0.05"] == (100.0, 100.0)


def test_intervals_come_back_from_the_record_and_older_records_have_none() -> None:
    scores = scored(drawn(0, IMAGES))
    assert Scores.model_validate_json(scores.model_dump_json()) == scores
    older = scores.model_copy(update={"intervals": None})
    assert "intervals" not in older.model_dump()
    assert Scores.model_validate_json(older.model_dump_json()).intervals is None


def scored(rows: list[dict[str, Any]]) -> Scores:
    scores = score_predictions(table(rows), ALPHAS)
    add_intervals(scores, table(rows), ALPHAS, resamples=200)
    return scores["farm/test"]["argmax"]


def test_the_pairs_of_spair_take_less_than_two_seconds_of_one_core() -> None:
    rng = np.random.default_rng(0)
    categories, images, pairs = 18, 27, 12_234
    category = np.sort(rng.integers(categories, size=pairs))
    source, target = (category * images + rng.integers(images, size=pairs) for _ in range(2))
    keypoints = rng.integers(1, 15, pairs).astype(np.float64)
    correct = np.stack([rng.binomial(keypoints.astype(int), p) for p in (0.2, 0.5, 0.7)]).astype(np.float64)
    made = PairScores(
        (0.05, 0.1, 0.2), correct, keypoints, category, tuple(map(str, range(categories))), source, target,
        categories * images,
    )  # fmt: skip
    before = time.process_time()
    assert intervals(made) is not None
    assert time.process_time() - before < 2.0


def test_nothing_here_needs_torch() -> None:
    modules = ("bootstrap", "compare", "breakdown", "confusion", "symmetry", "dyadic")
    code = "import sys; " + "; ".join(f"import peftcorr.metrics.{name}" for name in modules)
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True)

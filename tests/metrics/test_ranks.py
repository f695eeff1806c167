from __future__ import annotations

import numpy as np
import pytest

from peftcorr.metrics.pair_scores import pair_scores
from peftcorr.metrics.ranks import holm, rank_probabilities
from peftcorr.metrics.seeds import Seeds, seeds_of
from tests.metrics.made import drawn, table

IMAGES = {"cat": 6, "dog": 6}


def method(seed: int, nearer: float = 1.0) -> Seeds:
    rows = drawn(seed, IMAGES)
    moved = [{**r, "prediction_x": r["truth_x"] + nearer * (r["prediction_x"] - r["truth_x"])} for r in rows]
    return seeds_of([pair_scores(table(moved), [0.1])])


def test_every_method_has_a_rank_and_every_rank_a_method() -> None:
    found = rank_probabilities([method(0), method(1), method(2)], 200)
    assert found.shape == (3, 3, 4, 1)
    assert found.sum(axis=0) == pytest.approx(1.0)
    assert found.sum(axis=1) == pytest.approx(1.0)


def test_the_better_method_is_best_in_nearly_every_resample() -> None:
    found = rank_probabilities([method(0), method(0, 0.4), method(0, 0.9)], 200)
    assert found[1, 0] == pytest.approx(1.0)
    assert (found[0, 2] > 0.9).all()


def test_methods_that_tie_share_their_ranks() -> None:
    found = rank_probabilities([method(0), method(0), method(0, 0.3)], 100)
    assert found[:2, 1:] == pytest.approx(0.5)


def test_seeds_that_differ_leave_the_order_open() -> None:
    single = [method(0, 0.8), method(0, 1.0)]
    sure = rank_probabilities(single, 400)[0, 0, 0, 0]
    runs = [
        Seeds(2, one.mean, np.full((4, 1), 5.0), np.zeros((4, 1)))  # of two seeds far apart
        for one in single
    ]
    assert 0.5 < rank_probabilities(runs, 400)[0, 0, 0, 0] < sure


def test_holm_is_that_of_the_paper() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []

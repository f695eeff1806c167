"""Which of several methods is best, and which differ, when other images and other seeds might have come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from peftcorr.metrics.bootstrap import RESAMPLES
from peftcorr.metrics.rows import Floats
from peftcorr.metrics.seeds import Seeds, image_draws, seed_draws

SIGNIFICANT = 0.05


def rank_probabilities(methods: Sequence[Seeds], resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """In what share of resamples each method has each rank, (M, M, 4, A): method, rank from the best, statistic.

    Every resample ranks all methods on the same images. What is resampled is each method's distance from the mean of
    all, in which what makes an image easy for everybody cancels. Methods that tie share their ranks equally.
    """
    count = len(methods)
    drawn = np.stack(
        [
            image_draws(methods, [float(one == other) - 1 / count for other in range(count)], resamples, seed)
            + seed_draws(methods[one], one, resamples, seed)
            for one in range(count)
        ]
    )  # (M, B, 4, A)
    better = (drawn[None] > drawn[:, None]).sum(axis=1)  # (M, B, 4, A): how many are above each
    tied = (drawn[None] == drawn[:, None]).sum(axis=1)  # itself among them
    found = np.zeros((count, count, *drawn.shape[2:]))
    for rank in range(count):
        holds = (better <= rank) & (rank < better + tied)
        found[:, rank] = np.where(holds, 1 / tied, 0.0).mean(axis=1)
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of many comparisons, corrected so that one of twenty such families has any false one below 0.05.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979: the
    smallest of m times m, the next times m - 1, none below one before it. It holds however the comparisons depend on
    each other.
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    raised = np.minimum(1.0, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    found = np.empty(len(values))
    found[order] = raised
    return [float(value) for value in found]

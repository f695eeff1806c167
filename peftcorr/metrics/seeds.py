"""Intervals of a method: what its PCK would be over other images and other seeds of the training.

The PCK that one seed gives on a sample of images has three parts that vary: what the images do to every seed alike,
what the seed does on all images, and what it does on these images alone. The mean over S seeds has the first whole and
the other two divided by S. The scores of the seeds on the same images differ by the other two only, so their sample
variance over S is those parts' share of the mean's variance, on S - 1 degrees of freedom. The images' own part is the
dyadic-robust variance of the mean (`peftcorr.metrics.bootstrap`) less what the seeds' disagreement on the images
brings to it, or that would be counted twice.

A resample draws images, the same for all seeds, and moves the mean by a draw for the seeds. Two to five seeds are too
few to be drawn anew themselves: of two, a half of all draws would take the same one twice, and the widest would not
reach a third of Student's quantile. What is drawn is therefore Student's t with S - 1 degrees of freedom times the
standard error over seeds. The sum of the two parts is the distribution of Behrens and Fisher, whose intervals cover at
least as often as they say (Robinson, "Properties of Student's t and of the Behrens-Fisher solution to the two means
problem", Annals of Statistics 1976): with two seeds in up to 99 %. Student's t with Satterthwaite's degrees of freedom
for the sum of the variances ("An approximate distribution of estimates of variance components", Biometrics 1946) errs
the other way, down to 88 % with two seeds that vary far more than images do, where by chance they agree. The width that
is taken lies between, nearer to the narrower: with three seeds and more it then holds 93 to 96 %, whatever varies most;
with two 90 to 97 %, the least where the seeds' part is ten times that of the images. `benchmarks/coverage_seeds.py`
measures it for 2, 3 and 5 seeds.

A single run has no such part: its interval is that of `peftcorr.metrics.bootstrap`, and says nothing of other seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr, stdtrit  # what scipy.stats calls, without its start-up

from peftcorr.errors import PeftCorrError
from peftcorr.metrics.bootstrap import (
    LEVEL,
    RESAMPLES,
    category_means_known,
    estimates,
    influences,
    replicates,
    rescaled,
    spread,
)
from peftcorr.metrics.dyadic import FEWEST
from peftcorr.metrics.pair_scores import PairScores
from peftcorr.metrics.rows import Floats

_WIDER = 0.15  # share of the wider of the two widths
_STILL = 1e-9  # percentage points: draws that move no further than this do not move


@dataclass(frozen=True)
class Seeds:
    """The runs of one method on the same pairs, one run a seed.

    Attributes:
        runs: how many.
        mean: their pairs, with the mean number of correct keypoints. All aggregates are linear in that number, so what
            they give here is the mean of what they give for each run.
        error: standard error of the mean over seeds, in percentage points, (4, A); 0 for a single run.
        own: variance that the runs' disagreement on the images brings to `mean`, (4, A); 0 for a single run.
    """

    runs: int
    mean: PairScores
    error: Floats
    own: Floats


def seeds_of(runs: Sequence[PairScores]) -> Seeds:
    """Gather the runs of one method.

    Args:
        runs: at least one, on at least four images, all on the same keypoints.

    Raises:
        PeftCorrError: if the pairs of two runs are not the same.
    """
    first = runs[0]
    if any(not same_pairs(first, other) for other in runs[1:]):
        raise PeftCorrError(
            "The runs of one method were not scored on the same pairs: score them on the same data."
        )
    mean = combined(runs, [1 / len(runs)] * len(runs))
    values = np.stack([estimates(run) for run in runs])  # (S, 4, A)
    nothing = np.zeros(values.shape[1:])
    if len(runs) == 1:
        return Seeds(1, mean, nothing, nothing)
    error = values.std(axis=0, ddof=1) / np.sqrt(len(runs))
    apart = np.stack([influences(run) for run in runs]) - influences(mean)
    each = spread(first, apart.reshape(-1, len(first)))[0].reshape(values.shape)
    return Seeds(len(runs), mean, error, (each**2).sum(axis=0) / (len(runs) - 1) / len(runs))


def combined(pairs: Sequence[PairScores], weights: Sequence[float]) -> PairScores:
    """The same pairs with a weighted sum of the numbers of correct keypoints, negative ones perhaps."""
    parts = [weight * one.correct for one, weight in zip(pairs, weights, strict=True)]
    return replace(pairs[0], correct=np.sum(parts, axis=0))


def draws(
    methods: Sequence[Seeds], weights: Sequence[float], resamples: int = RESAMPLES, seed: int = 0
) -> Floats:
    """A weighted sum of methods' PCK in percent, as other images and seeds would give it: (B, 4, A).

    The images are the same in every call with the same `seed`; the seeds of each method are drawn apart.

    Args:
        methods: on the same pairs.
        weights: of each: ``[1]`` for the PCK of one, ``[-1, 1]`` for the second minus the first.
        resamples: how many draws, B.
        seed: of the draws.
    """
    moved = image_draws(methods, weights, resamples, seed)
    if all(method.runs == 1 for method in methods):
        return moved
    value, images, total, freedom = whole_error(methods, weights)
    for number, (method, weight) in enumerate(zip(methods, weights, strict=True)):
        moved += weight * seed_draws(method, number, resamples, seed)
    narrow = stdtrit(freedom, 0.5 + LEVEL / 2) * np.sqrt(total)
    wide = np.diff(limits(moved))[..., 0] / 2
    ratio = np.divide(narrow, wide, out=np.ones_like(wide), where=(wide > 0) & (total > images))
    factor = _WIDER + (1 - _WIDER) * ratio
    found: Floats = value + factor * (moved - value)
    return found


def whole_error(methods: Sequence[Seeds], weights: Sequence[float]) -> tuple[Floats, Floats, Floats, Floats]:
    """A weighted sum, and what images and seeds do to it, each (4, A).

    Returns:
        the sum, its variance from the images, that from images and seeds, and Satterthwaite's degrees of freedom of the
        latter.
    """
    value, error, freedom = image_error(methods, weights)
    total, shares = error**2, error**4 / freedom
    for method, weight in zip(methods, weights, strict=True):
        total = total + (weight * method.error) ** 2
        shares = shares + (weight * method.error) ** 4 / max(method.runs - 1, 1)
    freedom = np.divide(total**2, shares, out=np.ones_like(total), where=shares > 0)
    return value, error**2, total, freedom


def image_error(methods: Sequence[Seeds], weights: Sequence[float]) -> tuple[Floats, Floats, Floats]:
    """A weighted sum, and what the images do to it: its standard error and degrees of freedom; each (4, A)."""
    pairs = combined([method.mean for method in methods], weights)
    value = estimates(pairs)
    error, freedom = spread(pairs, influences(pairs).reshape(value.size, -1))
    own = sum(weight**2 * method.own for method, weight in zip(methods, weights, strict=True))
    variance = np.maximum(error.reshape(value.shape) ** 2 - own, 0.0)
    return value, np.sqrt(variance), freedom.reshape(value.shape)


def image_draws(methods: Sequence[Seeds], weights: Sequence[float], resamples: int, seed: int) -> Floats:
    """The part of `draws` that comes from the images, round the weighted sum itself."""
    pairs = combined([method.mean for method in methods], weights)
    found = replicates(pairs, resamples, seed)
    parts = (part.reshape(-1) for part in image_error(methods, weights))
    return rescaled(found.reshape(resamples, -1), *parts).reshape(found.shape)


def seed_draws(method: Seeds, number: int, resamples: int, seed: int) -> Floats:
    """The part of `draws` that comes from the seeds of one method, round 0.

    The quantiles of Student's t at equal steps, in an order that depends on `seed` and `number`: with two seeds its
    tails are so long that draws of it would not repeat.
    """
    if method.runs == 1:
        return np.zeros((resamples, *method.error.shape))
    quantiles = stdtrit(method.runs - 1, (np.arange(resamples) + 0.5) / resamples)
    order = np.random.default_rng([seed, 1, number]).permutation(resamples)
    found: Floats = quantiles[order][:, None, None] * method.error
    return found


def method_intervals(runs: Sequence[PairScores], resamples: int = RESAMPLES, seed: int = 0) -> Floats | None:
    """95 % intervals (4, A, 2) in percent of the mean over runs; None if there are fewer than four images.

    As `peftcorr.metrics.bootstrap.intervals` for a single run; NaN as there.
    """
    if runs[0].images < FEWEST:
        return None
    drawn = draws([seeds_of(runs)], [1.0], resamples, seed)
    found = np.clip(limits(drawn), 0.0, 100.0)
    if not category_means_known(runs[0]):
        found[2:] = np.nan
    return found


def limits(drawn: Floats) -> Floats:
    """The ends of the 95 % interval of draws (B, ...): (..., 2)."""
    ends: Floats = np.moveaxis(np.nanquantile(drawn, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0), 0, -1)
    return ends


def p_values(drawn: Floats, value: Floats, freedom: Floats) -> Floats:
    """Two-sided p-values of being 0, (...).

    Twice the smaller share of draws on one side of 0, counting one more (Davison and Hinkley, "Bootstrap Methods and
    their Application", 1997, section 4.2). Of B draws that is never below 2 / (B + 1), and so never small enough for a
    family of more than 0.025 (B + 1) comparisons. Where no draw is on the other side, the tail is therefore that of
    Student's t, of such a width that it puts the end of the 95 % interval where the draws do; never more than what was
    counted.

    Args:
        drawn: (B, ...).
        value: what they lie round, (...).
        freedom: degrees of freedom of their width, (...), as `whole_error` has them.
    """
    side = np.minimum((drawn <= 0).sum(axis=0), (drawn >= 0).sum(axis=0))
    counted = np.minimum(1.0, 2 * (side + 1) / ((~np.isnan(drawn)).sum(axis=0) + 1))
    ends = limits(drawn)
    half = np.where(value > 0, value - ends[..., 0], ends[..., 1] - value)
    beyond = (side == 0) & (half > _STILL)
    width = np.where(beyond, half, 1.0) / stdtrit(freedom, 0.5 + LEVEL / 2)
    tail = 2 * stdtr(freedom, -np.abs(value) / width)
    found: Floats = np.where(beyond, np.minimum(counted, tail), counted)
    return found


def interval_from_records(
    values: Sequence[float], intervals: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    """A 95 % interval of the mean over two or more runs, from what each run's record has alone.

    The mean square of the runs' own half-widths, and Student's half-width over the runs, added in quadrature (Banerjee,
    "Approximate confidence interval for linear functions of means of k populations when the population variances are
    not equal", Sankhya 1960). What a run does on these images alone is in both, so it is wider than `method_intervals`.

    Args:
        values: of each run, percent.
        intervals: of each run, percent.
    """
    mean = sum(values) / len(values)
    half = stdtrit(len(values) - 1, 0.5 + LEVEL / 2) * np.std(values, ddof=1) / np.sqrt(len(values))
    low, high = (
        np.sqrt(
            np.mean([(end[side] - value) ** 2 for value, end in zip(values, intervals, strict=True)])
            + half**2
        )
        for side in (0, 1)
    )
    return round(max(mean - float(low), 0.0), 4), round(min(mean + float(high), 100.0), 4)


def same_pairs(one: PairScores, other: PairScores) -> bool:
    """Whether two runs were scored on the same pairs, with as many keypoints of each."""
    return one.categories == other.categories and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("keypoints", "category", "source", "target")
    )

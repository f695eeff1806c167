"""Intervals of PCK by a bootstrap over images.

Pairs are not independent: an easy photograph makes all its pairs easy, and most benchmarks list a pair in both
directions. What is drawn anew is therefore images: in every category as many of its images, with replacement, as it
has; a pair counts as often as the product of its two images' counts (the pigeonhole bootstrap of Owen, "The pigeonhole
bootstrap", Annals of Applied Statistics 2007). Categories are not drawn: a benchmark chose them, and the number of
images of each.

The spread of such resamples is too large. With two-way data ``y = m + a_i + b_j + e_ij`` it holds the images' part a, b
once but the pairs' own part e three times (Owen), since the product of two counts has variance 3. An interval
straight from the percentiles covers the truth nearly always where images matter little. On the other side, with few
images it is too narrow. So the resamples give the interval its shape, skew included; its width is that of the
dyadic-robust variance (`peftcorr.metrics.dyadic`), which counts both parts once and corrects for few images, times the
ratio of Student's quantile to the normal one. `benchmarks/coverage.py` measures that 95 % intervals so made cover in 92
to 98 % of draws, whether images matter or not.

What no interval from one run can hold: other categories, other annotators, and the seed of the training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
from scipy.special import ndtri, stdtrit  # what scipy.stats calls, without its start-up

from peftcorr.metrics.aggregate import alpha_key
from peftcorr.metrics.dyadic import FEWEST, dyadic_variance
from peftcorr.metrics.pair_scores import PairScores, pair_scores
from peftcorr.metrics.presets import AGGREGATES, PEFTCORR, Aggregate, Preset
from peftcorr.metrics.rows import Floats, Integers, groups, sums
from peftcorr.metrics.scores import Scores

RESAMPLES = 2000
LEVEL = 0.95
_BLOCK = 256  # resamples at once
_PAIRS = 1 << 14  # pairs at once: a block's weights take 32 MB at most


def estimates(pairs: PairScores) -> Floats:
    """Every aggregate at every threshold in percent, (4, A): those of `aggregate`, in the order of `AGGREGATES`."""
    found: Floats = from_sums(_weighted(pairs, np.ones((1, pairs.images)), columns(pairs), _no(pairs))[0])[0]
    return found


def replicates(pairs: PairScores, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Every aggregate at every threshold, in percent, of every resample, (B, 4, A); NaN where no pair is left.

    Runs over the same pairs get the same resamples from the same seed.
    """
    blocks = resampled_sums(pairs, columns(pairs), _no(pairs), resamples, seed)
    return np.concatenate([from_sums(by_category) for by_category, _ in blocks])


def resampled_sums(
    pairs: PairScores, by_category: Floats, pooled: Floats, resamples: int, seed: int
) -> Iterator[tuple[Floats, Floats]]:
    """Sums over the pairs of each resample. Whatever is asked of the same pairs is best asked at once.

    Args:
        pairs: which images they join.
        by_category: what each pair adds to the sums over its category, (P, K).
        pooled: what it adds to those over all pairs, (P, L).
        resamples, seed: of the images.

    Returns:
        blocks (b, C, K) and (b, L) that make up `resamples` rows.
    """
    for counts in resampled_counts(pairs, resamples, seed):
        yield _weighted(pairs, counts, by_category, pooled)


def resampled_counts(pairs: PairScores, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each image is drawn: blocks (b, images) that make up `resamples` rows."""
    stratum = strata(pairs)
    members = np.argsort(stratum, kind="stable")
    size = np.bincount(stratum)
    start = np.cumsum(size) - size
    low, high = start[stratum[members]], (start + size)[stratum[members]]
    generator = np.random.default_rng(seed)
    for begin in range(0, resamples, _BLOCK):
        rows = min(_BLOCK, resamples - begin)
        drawn = members[generator.integers(low, high, size=(rows, pairs.images))]
        flat = (drawn + pairs.images * np.arange(rows)[:, None]).reshape(-1)
        counts = np.bincount(flat, minlength=rows * pairs.images)
        yield counts.reshape(rows, pairs.images).astype(np.float64)


def strata(pairs: PairScores) -> Integers:
    """Stratum of each image: its category; categories of fewer than four images share one, with the next smallest.

    Alone they would say nothing of their own variance; together they say too much rather than too little (the
    collapsed strata of Cochran, "Sampling Techniques", third edition, 1977).
    """
    category = pairs.category_of_image
    size = np.bincount(category, minlength=len(pairs.categories))
    order = np.argsort(size, kind="stable")
    merged = int((size < FEWEST).sum())
    while 0 < merged < len(order) and (size[order[:merged]].sum() < FEWEST or merged < 2):
        merged += 1
    stratum = np.arange(len(size))
    stratum[order[:merged]] = order[0] if merged else 0
    return np.unique(stratum[category], return_inverse=True)[1].reshape(-1)


def spread(pairs: PairScores, influence: Floats) -> tuple[Floats, Floats]:
    """Standard error (K,) and degrees of freedom (K,) of statistics with these influences (K, P)."""
    variance, freedom = dyadic_variance(pairs.source, pairs.target, strata(pairs), influence)
    return np.sqrt(variance), freedom


def rescaled(found: Floats, estimate: Floats, error: Floats, freedom: Floats) -> Floats:
    """Resamples of K statistics (B, K) moved to their estimates and brought to the width of their standard errors.

    NaN stands for a resample without any pair, and is left where it is.
    """
    deviation = found - np.nanmean(found, axis=0)
    width = np.sqrt(np.nanmean(deviation**2, axis=0))
    student = stdtrit(freedom, 0.5 + LEVEL / 2) / ndtri(0.5 + LEVEL / 2)
    factor = np.divide(error * student, width, out=np.zeros_like(width), where=width > 0)
    moved: Floats = estimate + factor * deviation
    return moved


def intervals(pairs: PairScores, resamples: int = RESAMPLES, seed: int = 0) -> Floats | None:
    """95 % intervals (4, A, 2) in percent, low and high; None if there are fewer than four images.

    The means over categories get NaN where a category has fewer than four images: its part is not known.
    """
    return None if pairs.images < FEWEST else intervals_from(pairs, replicates(pairs, resamples, seed))


def intervals_from(pairs: PairScores, drawn: Floats) -> Floats:
    """`intervals` from the replicates (B, 4, A) of at least four images."""
    value = estimates(pairs)
    error, freedom = spread(pairs, influences(pairs).reshape(value.size, -1))
    flat = drawn.reshape(len(drawn), -1)
    ends = limits(rescaled(flat, value.reshape(-1), error, freedom))
    found: Floats = np.clip(ends, 0.0, 100.0).reshape(*value.shape, 2)
    if not category_means_known(pairs):
        found[2:] = np.nan
    return found


def limits(drawn: Floats) -> Floats:
    """Ends (K, 2) of the middle `LEVEL` of each column of resamples (B, K), without those that are NaN."""
    rows = np.ascontiguousarray(drawn.T)  # sorted much faster than columns
    quantile = np.nanquantile if np.isnan(rows).any() else np.quantile
    found: Floats = quantile(rows, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=1).T
    return found


def category_means_known(pairs: PairScores) -> bool:
    """Whether every category has the images that an interval of a mean over categories needs."""
    return bool((np.bincount(pairs.category_of_image) >= FEWEST).all())


def add_intervals(
    scores: dict[str, dict[str, Scores]],
    table: pa.Table,
    alphas: Sequence[float],
    preset: Preset = PEFTCORR,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> None:
    """Fill in the intervals of the scores that `score_predictions` gives for a table."""
    for (dataset, split, predictor), rows in groups(table):
        ends = intervals(pair_scores(rows, alphas, preset), resamples, seed)
        found = scores[f"{dataset}/{split}"]
        named = {} if ends is None else named_intervals(ends, alphas)
        found[predictor] = found[predictor].model_copy(update={"intervals": named})


def named_intervals(ends: Floats, alphas: Sequence[float]) -> dict[Aggregate, dict[str, tuple[float, float]]]:
    """Intervals (4, A, 2) by aggregate and threshold, to four decimals: the rest depends on the machine's sums."""
    return {
        aggregate: {
            alpha_key(alpha): (round(float(low), 4), round(float(high), 4))
            for alpha, (low, high) in zip(alphas, ends[index], strict=True)
        }
        for index, aggregate in enumerate(AGGREGATES)
        if not np.isnan(ends[index]).any()
    }


def influences(pairs: PairScores) -> Floats:
    """How much each pair moves each aggregate at each threshold, in percent, (4, A, P); each row sums to 0."""
    categories = len(pairs.categories)
    keypoints, number = pairs.keypoints, np.ones(len(pairs))
    share = pairs.correct / keypoints
    rows = []
    for values, weights in ((pairs.correct, keypoints), (share, number)):
        mean = values.sum(axis=1, keepdims=True) / weights.sum()
        rows.append((values - mean * weights) / weights.sum())
    for values, weights in ((pairs.correct, keypoints), (share, number)):
        whole = np.bincount(pairs.category, weights, categories)
        own = (sums(values, pairs.category, categories) / whole)[:, pairs.category]
        rows.append((values - own * weights) / whole[pairs.category] / categories)
    return 100.0 * np.stack(rows)


def columns(pairs: PairScores) -> Floats:
    """What each pair adds to the aggregates' sums, (P, 2A + 2).

    Correct keypoints at each threshold, share of correct keypoints at each, keypoints, pairs.
    """
    found: Floats = np.concatenate(
        [pairs.correct, pairs.correct / pairs.keypoints, pairs.keypoints[None], np.ones((1, len(pairs)))]
    ).T
    return found


def _no(pairs: PairScores) -> Floats:
    return np.empty((len(pairs), 0))


def _weighted(
    pairs: PairScores, counts: Floats, by_category: Floats, pooled: Floats
) -> tuple[Floats, Floats]:
    """The sums of `resampled_sums`, weighted by products of counts (b, images)."""
    own = by_category.shape[1]
    added = np.concatenate([by_category, pooled], axis=1)
    total = np.zeros((len(counts), len(pairs.categories), own))
    whole = np.zeros((len(counts), pooled.shape[1]))
    by_image = np.ascontiguousarray(counts.T)  # rows of it are taken faster than columns
    for category, (begin, end) in enumerate(pairwise(pairs.first.tolist())):
        for start in range(begin, end, _PAIRS):
            part = slice(start, min(start + _PAIRS, end))
            weights = by_image[pairs.source[part]] * by_image[pairs.target[part]]
            found = weights.T @ added[part]
            total[:, category] += found[:, :own]
            whole += found[:, own:]
    return total, whole


def from_sums(total: Floats) -> Floats:
    """Aggregates (b, 4, A) in percent from sums (b, C, 2A + 2) of the `columns`."""
    thresholds = (total.shape[2] - 2) // 2
    correct, share = total[..., :thresholds], total[..., thresholds : 2 * thresholds]
    keypoints, number = total[..., -2:-1], total[..., -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        pooled = [correct.sum(axis=1) / keypoints.sum(axis=1), share.sum(axis=1) / number.sum(axis=1)]
        by_category = [correct / keypoints, share / number]
        present = (number > 0).sum(axis=1)  # a category may lose all its pairs in a resample
        means = [np.where(number > 0, values, 0.0).sum(axis=1) / present for values in by_category]
    return 100.0 * np.stack([*pooled, *means], axis=1)

"""What PCK at three thresholds does not tell: each further measure of one predictor on one split, with its interval.

- PCK@0.01, and PCK† (`peftcorr.metrics.distinct`) at the thresholds that were asked for.
- The geometry-aware subset (`peftcorr.metrics.geometry`), where it is known; per image over the pairs that have some.
- The error, distance over s: mean and median. The median's interval is Woodruff's (JASA 1952): the quantiles between
  which the share of smaller errors may lie.
- The area under the PCK curve from 0 to `AREA`, as a share of the whole: exactly the mean of max(0, 1 - error / AREA).
- Whether similarity tells right from wrong: PCK@0.1 of the share of keypoints with the highest similarity, which is
  what abstaining from the rest would give. Its thresholds are those of this split, whatever is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import stdtrit  # what scipy.stats calls, without its start-up

from peftcorr.metrics.aggregate import alpha_key
from peftcorr.metrics.bootstrap import (
    LEVEL,
    RESAMPLES,
    columns,
    from_sums,
    intervals_from,
    named_intervals,
    resampled_sums,
)
from peftcorr.metrics.distinct import nearest_is_own
from peftcorr.metrics.dyadic import FEWEST
from peftcorr.metrics.geometry import geometry_aware
from peftcorr.metrics.pair_scores import PairScores, pair_numbers, pair_scores
from peftcorr.metrics.presets import PEFTCORR, Preset
from peftcorr.metrics.ratios import Ratios, ratio_intervals
from peftcorr.metrics.rows import Floats, dataset_of, frame_sizes, groups, points, visible
from peftcorr.metrics.scores import (
    Averages,
    Confidence,
    CoveragePoint,
    Estimate,
    Further,
    GeometryAware,
    Scores,
)

Key = tuple[str, str, str]  # dataset, split, predictor

FINE = 0.01
AREA = 0.2
CONFIDENT = 0.1  # threshold of the coverage
SHARES = tuple(round(0.1 * step, 1) for step in range(1, 11))


def add_further(
    scores: dict[str, dict[str, Scores]],
    table: pa.Table,
    alphas: Sequence[float],
    preset: Preset = PEFTCORR,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> None:
    """Fill in the intervals and the further measures of the scores that `score_predictions` gives for a table.

    Predictors of the same pairs have their resamples, and the work of drawing them, in common.
    """
    found = {key: _gathered(rows, alphas, preset) for key, rows in groups(table)}
    for keys in _of_the_same_pairs({key: sums.pairs for key, (sums, _) in found.items()}):
        drawn = _drawn([found[key][0] for key in keys], resamples, seed)
        for (dataset, split, predictor), one in zip(keys, drawn, strict=True):
            sums, told = found[dataset, split, predictor]
            ends = None if one is None else intervals_from(sums.pairs, one[0])
            own = scores[f"{dataset}/{split}"]
            own[predictor] = own[predictor].model_copy(
                update={
                    "intervals": {} if ends is None else named_intervals(ends, alphas),
                    "further": told(sums.estimated(None if one is None else one[1])),
                }
            )


def further(
    rows: pa.Table,
    alphas: Sequence[float],
    preset: Preset = PEFTCORR,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Further:
    """Every further measure of one predictor on one split.

    Args:
        rows: as `peftcorr.metrics.rows.groups` gives them, and found sound by scoring.
        alphas: thresholds of PCK† and of the geometry-aware subset.
        preset: when a keypoint is correct.
        resamples, seed: of the intervals.
    """
    sums, told = _gathered(rows, alphas, preset)
    [drawn] = _drawn([sums], resamples, seed)
    return told(sums.estimated(None if drawn is None else drawn[1]))


def _of_the_same_pairs(pairs: Mapping[Key, PairScores]) -> list[list[Key]]:
    """Predictors whose pairs join the same images."""
    same: dict[tuple[bytes, ...], list[Key]] = {}
    for key, one in pairs.items():
        ends = (one.category.tobytes(), one.source.tobytes(), one.target.tobytes())
        same.setdefault(ends, []).append(key)
    return list(same.values())


def _drawn(sums: Sequence[_Sums], resamples: int, seed: int) -> list[tuple[Floats, Floats] | None]:
    """Of each predictor of the same pairs: aggregates (B, 4, A) and ratios (B, K) of every resample.

    None of fewer than four images.
    """
    pairs = sums[0].pairs
    if pairs.images < FEWEST:
        return [None] * len(sums)
    ratios = [one.ratios for one in sums]
    by_category = [columns(one.pairs) for one in sums]
    pooled = [one.columns() for one in ratios]
    ends = [np.cumsum([part.shape[1] for part in parts])[:-1] for parts in (by_category, pooled)]
    found: list[list[tuple[Floats, Floats]]] = [[] for _ in sums]
    for block in resampled_sums(
        pairs, np.concatenate(by_category, axis=1), np.concatenate(pooled, axis=1), resamples, seed
    ):
        parts = [np.split(total, end, axis=-1) for total, end in zip(block, ends, strict=True)]
        for number, (own, ratio) in enumerate(zip(*parts, strict=True)):
            found[number].append((from_sums(own), ratios[number].from_sums(ratio)))
    return [
        (np.concatenate([one for one, _ in rows]), np.concatenate([one for _, one in rows])) for rows in found
    ]


def _gathered(
    rows: pa.Table, alphas: Sequence[float], preset: Preset
) -> tuple[_Sums, Callable[[_Estimates], Further]]:
    """The sums that the measures of one predictor are made of, and what makes them of their estimates."""
    rows = visible(rows)
    dataset, sizes = dataset_of(rows), frame_sizes(rows, preset, "this run")
    distance, length = preset.measure(
        points(rows, "prediction"),
        points(rows, "truth"),
        rows.column("reference_length").to_numpy(),
        sizes,
        dataset,
    )
    correct = preset.correct(distance, np.asarray(alphas)[:, None] * length)
    own, aware = nearest_is_own(rows, preset, sizes), geometry_aware(dataset, rows)
    error, every = 100 * distance / length, np.ones(len(rows), dtype=bool)
    sums = _Sums(rows, alphas, preset)
    fine = sums.averages(_percent(preset.correct(distance, FINE * length)), every)
    distinct = [sums.averages(_percent(hit & own), every) for hit in correct]
    subset = [sums.averages(_percent(hit), aware) for hit in correct] if aware.any() else []
    of_subset = len(np.unique(rows.column("pair").to_numpy()[aware])), int(aware.sum())
    mean = sums.averages(error, every)
    area = sums.averages(100.0 * np.maximum(0, 1 - error / (100 * AREA)), every)
    median = float(np.median(error))
    smaller = sums.pooled((error <= median).astype(np.float64), every)
    limits, kept = _coverage(rows)
    confident = _percent(preset.correct(distance, CONFIDENT * length))
    coverage = [sums.pooled(confident, chosen) for chosen in kept]
    shares = [100 * float(chosen.mean()) for chosen in kept]
    curve = sums.mean_of(coverage) if coverage else -1
    keys = [alpha_key(alpha) for alpha in alphas]

    def told(found: _Estimates) -> Further:
        return Further(
            fine=found.averages(fine, 100.0),
            distinct={key: found.averages(at, 100.0) for key, at in zip(keys, distinct, strict=True)},
            geometry_aware=GeometryAware(
                pck={key: found.averages(at, 100.0) for key, at in zip(keys, subset, strict=True)},
                n_pairs=of_subset[0],
                n_keypoints=of_subset[1],
            )
            if subset
            else None,
            mean_error=found.averages(mean, None),
            median_error=Estimate(value=median, interval=found.quantiles(error, smaller)),
            area=found.averages(area, 100.0),
            confidence=Confidence(
                coverage=[
                    CoveragePoint(share=share, similarity=limit, pck=found.estimate(at, 100.0))
                    for limit, share, at in zip(limits, shares, coverage, strict=True)
                ],
                mean=found.estimate(curve, 100.0),
            )
            if coverage
            else None,
        )

    return sums, told


def _percent(flags: NDArray[np.bool_]) -> Floats:
    return 100.0 * flags.astype(np.float64)


def _coverage(rows: pa.Table) -> tuple[list[float], list[NDArray[np.bool_]]]:
    """The similarity that each share of the keypoints reaches, and which they are; ties stay together."""
    column = rows.column("similarity")
    if column.null_count:
        return [], []
    similarity = column.to_numpy().astype(np.float64)
    ordered = np.sort(similarity)[::-1]
    limits = [float(ordered[int(np.ceil(share * len(ordered))) - 1]) for share in SHARES]
    return limits, [similarity >= limit for limit in limits]


class _Sums:
    """Collects ratios of sums over pairs; each is known by its number.

    Attributes:
        pairs: over which.
    """

    def __init__(self, rows: pa.Table, alphas: Sequence[float], preset: Preset):
        self.pairs = pair_scores(rows, alphas, preset)
        self._pair = pair_numbers(rows)[1]
        self._over: list[Floats] = []
        self._under: list[Floats] = []
        self._mixed: dict[int, list[int]] = {}

    def pooled(self, values: Floats, chosen: NDArray[np.bool_]) -> int:
        """The mean of values (N,) over the chosen keypoints (N,)."""
        return self._add(*self._of_pairs(values, chosen))

    def averages(self, values: Floats, chosen: NDArray[np.bool_]) -> tuple[int, int]:
        """That, and the mean over pairs that have a chosen keypoint, of each pair's own mean."""
        over, under = self._of_pairs(values, chosen)
        share = np.divide(over, under, out=np.zeros_like(over), where=under > 0)
        return self._add(over, under), self._add(share, (under > 0).astype(np.float64))

    def mean_of(self, numbers: Sequence[int]) -> int:
        """The mean of some of the ratios."""
        self._mixed[-len(self._mixed) - 1] = list(numbers)
        return -len(self._mixed)

    def _of_pairs(self, values: Floats, chosen: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        count = len(self.pairs)
        return (
            np.bincount(self._pair, np.where(chosen, values, 0.0), count).astype(np.float64),
            np.bincount(self._pair, chosen, count).astype(np.float64),
        )

    def _add(self, over: Floats, under: Floats) -> int:
        self._over.append(over)
        self._under.append(under)
        return len(self._over) - 1

    @cached_property
    def ratios(self) -> Ratios:
        """All that were collected."""
        return Ratios(self.pairs, np.stack(self._over), np.stack(self._under))

    def estimated(self, drawn: Floats | None) -> _Estimates:
        """All of them with their intervals, from their resamples (B, K)."""
        mixed = np.eye(len(self._over))
        for parts in reversed(self._mixed.values()):  # the first one's number is -1
            row = np.zeros(len(self._over))
            row[parts] = 1 / len(parts)
            mixed = np.concatenate([mixed, row[None]])
        ends, error, freedom = ratio_intervals(self.ratios, mixed, drawn)
        return _Estimates(mixed @ self.ratios.estimates(), ends, error, freedom)


class _Estimates:
    """Values, intervals, standard errors and degrees of freedom of what `_Sums` collected."""

    def __init__(self, values: Floats, ends: Floats, error: Floats, freedom: Floats):
        self._values, self._ends, self._error, self._freedom = values, ends, error, freedom

    def estimate(self, number: int, most: float | None) -> Estimate:
        """One of them, its interval cut off at 0 and `most`."""
        ends = np.clip(self._ends[number], 0.0, most)
        interval = None if np.isnan(ends).any() else (round(float(ends[0]), 4), round(float(ends[1]), 4))
        return Estimate(value=float(self._values[number]), interval=interval)

    def averages(self, numbers: tuple[int, int], most: float | None) -> Averages:
        """Both averages of one measure."""
        per_keypoint, per_image = (self.estimate(number, most) for number in numbers)
        return Averages(per_keypoint=per_keypoint, per_image=per_image)

    def quantiles(self, values: Floats, number: int) -> tuple[float, float] | None:
        """Woodruff's interval of the median of values, given the share of smaller ones."""
        half = self._error[number] * stdtrit(self._freedom[number], 0.5 + LEVEL / 2)
        if np.isnan(half):
            return None
        low, high = np.quantile(values, np.clip([0.5 - half, 0.5 + half], 0, 1))
        return round(float(low), 4), round(float(high), 4)

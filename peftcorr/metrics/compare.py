"""Two methods on the same keypoints: the difference of their scores, its interval and a p-value.

A method is one run, or several that differ in the seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from peftcorr.errors import PeftCorrError, did_you_mean, shown
from peftcorr.metrics.aggregate import alpha_key, score_predictions
from peftcorr.metrics.bootstrap import RESAMPLES, category_means_known, estimates
from peftcorr.metrics.dyadic import FEWEST
from peftcorr.metrics.pair_scores import pair_scores
from peftcorr.metrics.presets import AGGREGATES, PEFTCORR, Aggregate, Preset
from peftcorr.metrics.ranks import holm
from peftcorr.metrics.rows import groups
from peftcorr.metrics.seeds import draws, limits, p_values, seeds_of, whole_error
from peftcorr.predictions import SIZE_COLUMNS

_IDENTITY = (
    "source_image", "target_image", "source_x", "source_y", "truth_x", "truth_y", "reference_length",
    *SIZE_COLUMNS, "target_occluded",
)  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """Method B minus method A by one aggregate at one threshold, in percentage points.

    Attributes:
        split: ``<dataset>/<split>``.
        predictors: that of A and that of B.
        aggregate: one of `AGGREGATES`.
        alpha: threshold.
        scores: of A and of B, percent; means over their runs.
        difference: B - A.
        interval: 95 %, low and high; None where there are too few images for one.
        p_value: two-sided; None as the interval.
        corrected: the p-value for all differences that were found with this one (`peftcorr.metrics.ranks.holm`).
    """

    split: str
    predictors: tuple[str, str]
    aggregate: Aggregate
    alpha: str
    scores: tuple[float, float]
    difference: float
    interval: tuple[float, float] | None
    p_value: float | None
    corrected: float | None = None


def compare(
    first: Sequence[pa.Table],
    second: Sequence[pa.Table],
    alphas: Sequence[float],
    predictors: Sequence[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
    preset: Preset = PEFTCORR,
    names: tuple[Sequence[str], Sequence[str]] | None = None,
) -> list[Difference]:
    """Compare two methods wherever all of their runs were scored.

    Both are scored on the same resamples of the images (`peftcorr.metrics.bootstrap`), so that what makes an image
    easy for both cancels; the width is that of the dyadic-robust variance of the difference. Where a method has
    several runs, the interval is for their mean and covers other seeds too (`peftcorr.metrics.seeds`).

    Args:
        first, second: predictions of the runs of A and B, as `peftcorr.predictions.read_predictions` gives them.
        alphas: thresholds as a share of the reference length.
        predictors: compare this predictor alone, or A's by the first with B's by the second; by default each that
            both have with itself.
        resamples: how often the images are drawn anew.
        seed: of the draws.
        preset: when a keypoint is correct, in both.
        names: what errors call the runs of each.

    Raises:
        PeftCorrError: if they have no split or no predictor in common, a split's keypoints are not the same in all,
            or a table cannot be scored.
    """
    tables = (first, second)
    called = names or (_numbered("A", first), _numbered("B", second))
    for runs, known in zip(tables, called, strict=True):
        for run, name in zip(runs, known, strict=True):
            _check_sound(name, run, alphas, preset)
    every = [
        (run, name)
        for runs, known in zip(tables, called, strict=True)
        for run, name in zip(runs, known, strict=True)
    ]
    by_split = [_by_split(run) for run, _ in every]
    (ours, one), (theirs, other) = ((by_split[at], every[at][1]) for at in (0, len(first)))
    shared = [split for split in ours if all(split in splits for splits in by_split)]
    if not shared:
        there = next(
            (at for at, splits in enumerate(by_split) if not ours.keys() & splits.keys()), len(first)
        )
        raise PeftCorrError(
            f"The runs {one} and {every[there][1]} have no split in common: one has {', '.join(ours)}, the other "
            f"{', '.join(by_split[there])}. Score both on the same dataset."
        )
    found = []
    for split in shared:
        for pair in _pairing(split, (one, other), list(ours[split]), list(theirs[split]), predictors):
            rows = []
            for at, (splits, (_, name)) in enumerate(zip(by_split, every, strict=True)):
                predictor = pair[at >= len(first)]
                if predictor not in splits[split]:
                    raise PeftCorrError(
                        f"{split} of {name} was not scored with {shown(predictor)}."
                        + did_you_mean(predictor, splits[split])
                    )
                rows.append(splits[split][predictor])
                if at:
                    aligned(split, (one, name), rows[0], rows[-1])
            methods = (rows[: len(first)], rows[len(first) :])
            found += _differences(split, pair, methods, alphas, resamples, seed, preset)
    return _corrected(found)


def _numbered(letter: str, runs: Sequence[pa.Table]) -> list[str]:
    return [letter] if len(runs) == 1 else [f"{letter}{number}" for number in range(1, len(runs) + 1)]


def _check_sound(name: str, table: pa.Table, alphas: Sequence[float], preset: Preset) -> None:
    try:
        score_predictions(table, alphas, preset)
    except PeftCorrError as error:
        raise PeftCorrError(f"{name}: {error}") from error


def _differences(
    split: str,
    predictors: tuple[str, str],
    rows: tuple[Sequence[pa.Table], Sequence[pa.Table]],
    alphas: Sequence[float],
    resamples: int,
    seed: int,
    preset: Preset,
) -> list[Difference]:
    both = [[pair_scores(run, alphas, preset) for run in runs] for runs in rows]
    values = [np.mean([estimates(pairs) for pairs in runs], axis=0) for runs in both]
    shape = values[0].shape
    known = np.zeros(shape, dtype=bool)
    ends, p_value = np.zeros((*shape, 2)), np.zeros(shape)
    if both[0][0].images >= FEWEST:
        known[:2], known[2:] = True, category_means_known(both[0][0])
        methods, weights = [seeds_of(runs) for runs in both], (-1.0, 1.0)
        drawn = draws(methods, weights, resamples, seed)
        difference, _, _, freedom = whole_error(methods, weights)
        ends, p_value = limits(drawn), p_values(drawn, difference, freedom)
    return [
        Difference(
            split,
            predictors,
            AGGREGATES[at[0]],
            alpha_key(alphas[at[1]]),
            (float(values[0][at]), float(values[1][at])),
            float(values[1][at] - values[0][at]),
            (float(ends[at][0]), float(ends[at][1])) if known[at] else None,
            float(p_value[at]) if known[at] else None,
        )
        for at in np.ndindex(*shape)
    ]


def _corrected(found: Sequence[Difference]) -> list[Difference]:
    """The same differences, each with its p-value for all of them."""
    values = iter(holm([one.p_value for one in found if one.p_value is not None]))
    return [one if one.p_value is None else replace(one, corrected=next(values)) for one in found]


def _by_split(table: pa.Table) -> dict[str, dict[str, pa.Table]]:
    found: dict[str, dict[str, pa.Table]] = {}
    for (dataset, split, predictor), rows in groups(table):
        found.setdefault(f"{dataset}/{split}", {})[predictor] = rows
    return found


def _pairing(
    split: str, names: tuple[str, str], ours: list[str], theirs: list[str], asked: Sequence[str]
) -> list[tuple[str, str]]:
    """Which predictor of A is compared with which of B."""
    if asked:
        for run, name, there in ((names[0], asked[0], ours), (names[1], asked[-1], theirs)):
            if name not in there:
                raise PeftCorrError(
                    f"{split} of {run} was not scored with {shown(name)}.{did_you_mean(name, there)}"
                )
        return [(asked[0], asked[-1])]
    shared = [(name, name) for name in ours if name in theirs]
    if not shared:
        raise PeftCorrError(
            f"The runs {names[0]} and {names[1]} have no predictor in common on {split}: one has {', '.join(ours)}, "
            f"the other {', '.join(theirs)}. Name one of each with --predictor."
        )
    return shared


def aligned(
    split: str, names: tuple[str, str], ours: pa.Table, theirs: pa.Table
) -> tuple[pa.Table, pa.Table]:
    """The rows of two runs on the same keypoints, in the same order.

    Args:
        split: ``<dataset>/<split>``, for errors.
        names: what errors call the runs.
        ours, theirs: rows of one predictor of each.

    Raises:
        PeftCorrError: if their keypoints differ, naming the first that does, by names of pair and keypoint.
    """
    differing = f"The runs {names[0]} and {names[1]} do not have the same keypoints on {split}"
    one, other = _ordered(ours), _ordered(theirs)
    left, right = (
        list(zip(part.column("pair_id").to_pylist(), part.column("keypoint_id").to_pylist(), strict=True))
        for part in (one, other)
    )
    if left != right:
        # Of two sorted lists the smaller entry where they first part is missing from the other.
        a, b = next((a, b) for a, b in zip_longest(left, right) if a != b)
        (pair, keypoint), alone = (a, names[0]) if b is None or (a is not None and a < b) else (b, names[1])
        raise PeftCorrError(
            f"{differing}: keypoint {keypoint} of pair {pair} is in {alone} alone. Score both on the same pairs."
        )
    for column in _IDENTITY:  # what an older file does not tell, is null there, differs from nothing
        differs = pc.indices_nonzero(pc.not_equal(_plain(one, column), _plain(other, column)))
        if len(differs):
            row = differs[0].as_py()
            pair, keypoint = left[row]
            raise PeftCorrError(
                f"{differing}: {column} of keypoint {keypoint} of pair {pair} is {one.column(column)[row].as_py()} in "
                f"{names[0]} and {other.column(column)[row].as_py()} in {names[1]}. Score both on the same data."
            )
    return one, other


def _ordered(rows: pa.Table) -> pa.Table:
    """Rows sorted by names of pair and keypoint; of two alike in a pair, which users' data may have, by place."""
    keys = ("pair_id", "keypoint_id", "source_x", "source_y")
    plain = pa.table({name: _plain(rows, name) for name in keys})
    return rows.take(pc.sort_indices(plain, [(name, "ascending") for name in keys]))


def _plain(rows: pa.Table, name: str) -> pa.ChunkedArray:
    column = rows.column(name)
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column

"""Two runs on the same keypoints: the difference of their scores, its interval and a p-value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from peftcorr.errors import PeftCorrError, did_you_mean, shown
from peftcorr.metrics.aggregate import alpha_key, score_predictions
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
from peftcorr.metrics.pair_scores import pair_scores
from peftcorr.metrics.presets import AGGREGATES, PEFTCORR, Aggregate, Preset
from peftcorr.metrics.rows import groups
from peftcorr.predictions import SIZE_COLUMNS

_IDENTITY = (
    "source_image", "target_image", "source_x", "source_y", "truth_x", "truth_y", "reference_length",
    *SIZE_COLUMNS, "target_occluded",
)  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """Run B minus run A by one aggregate at one threshold, in percentage points.

    Attributes:
        split: ``<dataset>/<split>``.
        predictors: that of A and that of B.
        aggregate: one of `AGGREGATES`.
        alpha: threshold.
        scores: of A and of B, percent.
        difference: B - A.
        interval: 95 %, low and high; None where there are too few images for one.
        p_value: two-sided; None as the interval.
    """

    split: str
    predictors: tuple[str, str]
    aggregate: Aggregate
    alpha: str
    scores: tuple[float, float]
    difference: float
    interval: tuple[float, float] | None
    p_value: float | None


def compare(
    first: pa.Table,
    second: pa.Table,
    alphas: Sequence[float],
    predictors: Sequence[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
    preset: Preset = PEFTCORR,
    names: tuple[str, str] = ("A", "B"),
) -> list[Difference]:
    """Compare two runs wherever both were scored.

    Both are scored on the same resamples of the images (`peftcorr.metrics.bootstrap`), so that what makes an image
    easy for both cancels; the width is that of the dyadic-robust variance of the difference. The p-value is twice the
    smaller share of resamples on one side of 0, counting one more (Davison and Hinkley, "Bootstrap Methods and their
    Application", 1997, section 4.2): with B resamples it is never below 2 / (B + 1).

    Args:
        first, second: predictions of A and B, as `peftcorr.predictions.read_predictions` gives them.
        alphas: thresholds as a share of the reference length.
        predictors: compare this predictor alone, or A's by the first with B's by the second; by default each that
            both have with itself.
        resamples: how often the images are drawn anew.
        seed: of the draws.
        preset: when a keypoint is correct, in both.
        names: what errors call the runs.

    Raises:
        PeftCorrError: if they have no split or no predictor in common, a split's keypoints are not the same in both,
            or a table cannot be scored.
    """
    _check_sound(names[0], first, alphas, preset)
    _check_sound(names[1], second, alphas, preset)
    ours, theirs = _by_split(first), _by_split(second)
    shared = [split for split in ours if split in theirs]
    if not shared:
        raise PeftCorrError(
            f"The runs {names[0]} and {names[1]} have no split in common: one has {', '.join(ours)}, the other "
            f"{', '.join(theirs)}. Score both on the same dataset."
        )
    found = []
    for split in shared:
        for one, other in _pairing(split, names, list(ours[split]), list(theirs[split]), predictors):
            rows = (ours[split][one], theirs[split][other])
            aligned(split, names, *rows)
            found += _differences(split, (one, other), rows, alphas, resamples, seed, preset)
    return found


def _check_sound(name: str, table: pa.Table, alphas: Sequence[float], preset: Preset) -> None:
    try:
        score_predictions(table, alphas, preset)
    except PeftCorrError as error:
        raise PeftCorrError(f"{name}: {error}") from error


def _differences(
    split: str,
    predictors: tuple[str, str],
    rows: tuple[pa.Table, pa.Table],
    alphas: Sequence[float],
    resamples: int,
    seed: int,
    preset: Preset,
) -> list[Difference]:
    both = [pair_scores(part, alphas, preset) for part in rows]
    values = [estimates(pairs) for pairs in both]
    shape = values[0].shape
    difference = (values[1] - values[0]).reshape(-1)
    known = np.zeros(shape, dtype=bool)
    low = high = p_value = np.zeros(difference.size)
    if both[0].images >= FEWEST:
        known[:2], known[2:] = True, category_means_known(both[0])
        influence = (influences(both[1]) - influences(both[0])).reshape(difference.size, -1)
        error, freedom = spread(both[0], influence)
        drawn = [replicates(pairs, resamples, seed).reshape(resamples, -1) for pairs in both]
        moved = rescaled(drawn[1] - drawn[0], difference, error, freedom)
        low, high = np.nanquantile(moved, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0)
        side = np.minimum((moved <= 0).sum(axis=0), (moved >= 0).sum(axis=0))
        p_value = np.minimum(1.0, 2 * (side + 1) / ((~np.isnan(moved)).sum(axis=0) + 1))
    found = []
    for number, (aggregate, alpha) in enumerate(np.ndindex(*shape)):
        has = bool(known[aggregate, alpha])
        found.append(
            Difference(
                split,
                predictors,
                AGGREGATES[aggregate],
                alpha_key(alphas[alpha]),
                (float(values[0][aggregate, alpha]), float(values[1][aggregate, alpha])),
                float(difference[number]),
                (float(low[number]), float(high[number])) if has else None,
                float(p_value[number]) if has else None,
            )
        )
    return found


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

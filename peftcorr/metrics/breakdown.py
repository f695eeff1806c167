"""Where a run is good and where it is not: its PCK by what SPair-71k and others say of a pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from peftcorr.metrics.bootstrap import estimates, intervals
from peftcorr.metrics.confusion import confusions
from peftcorr.metrics.further import further
from peftcorr.metrics.generalisation import parted
from peftcorr.metrics.pair_scores import PairScores, pair_numbers, pair_scores
from peftcorr.metrics.presets import PEFTCORR, Preset
from peftcorr.metrics.rows import coded, visible
from peftcorr.metrics.scores import Further, Generalisation

Floats = NDArray[np.float64]

CURVE = tuple(round(0.01 * step, 2) for step in range(1, 31))  # thresholds of the PCK curve

_GRADES = ("easy", "medium", "hard")
_ENDS = ("none", "source", "target", "both")
# What the numbers of SPair-71k's annotation mean (Min et al., 2019, arXiv:1908.10543).
_FACTORS = {
    "viewpoint": ("viewpoint_variation", _GRADES),
    "scale": ("scale_variation", _GRADES),
    "truncation": ("truncation", _ENDS),
    "occlusion": ("occlusion", _ENDS),
}
_NUMBERS = (1, 3, 6, 11, 16, 21)  # where each range of the number of keypoints begins


@dataclass(frozen=True)
class Group:
    """The pairs that have one value of a factor.

    Attributes:
        value: name of the value.
        n_pairs, n_keypoints: how many of each.
        scores: PCK in percent per keypoint and per image at each threshold, (2, A).
        intervals: 95 % intervals of these, (2, A, 2); None where there are too few images.
    """

    value: str
    n_pairs: int
    n_keypoints: int
    scores: Floats
    intervals: Floats | None


@dataclass(frozen=True)
class Sides:
    """Left and right in one category, or in all (``all``): keypoints whose mirror image the target shows.

    Attributes:
        category: name, or ``all``.
        mirrored: how many keypoints.
        confused: how many predictions are nearer to the mirror image.
    """

    category: str
    mirrored: int
    confused: int


@dataclass(frozen=True)
class Breakdown:
    """Everything about one predictor on one split.

    Attributes:
        alphas: thresholds of the groups.
        whole: all pairs.
        factors: groups by factor: what the training saw, category, viewpoint, scale, truncation, occlusion, keypoints;
            without those that nobody says anything about.
        sides: by category, after that of all; empty where no keypoint is known to have a mirror image.
        curve: PCK in percent per keypoint and per image at each threshold of `CURVE`, (2, 30).
        curve_intervals: (2, 30, 2), or None.
        further: what else is measured.
    """

    alphas: tuple[float, ...]
    whole: Group
    factors: dict[str, list[Group]]
    sides: list[Sides]
    curve: Floats
    curve_intervals: Floats | None
    further: Further


def breakdown(
    dataset: str,
    rows: pa.Table,
    alphas: Sequence[float],
    unseen: Generalisation | None = None,
    preset: Preset = PEFTCORR,
) -> Breakdown:
    """Break the predictions of one predictor on one split down.

    Args:
        dataset: name of the dataset.
        rows: as `peftcorr.metrics.rows.groups` gives them, and found sound by scoring.
        alphas: thresholds as a share of the reference length.
        unseen: what the training was not shown, from the record; None where nothing was held out.
        preset: when a keypoint is correct.
    """
    rows = visible(rows)
    pairs = pair_scores(rows, alphas, preset)
    curve = pair_scores(rows, CURVE, preset)
    ends = intervals(curve)
    return Breakdown(
        tuple(alphas),
        _group("all", pairs),
        {
            **_parts(rows, alphas, unseen, preset),
            **{
                factor: [_group(value, pairs.subset(chosen)) for value, chosen in values]
                for factor, values in _factors(rows, pairs)
            },
        },
        _sides(dataset, rows),
        estimates(curve)[:2],
        None if ends is None else ends[:2],
        further(rows, alphas, preset),
    )


def _group(value: str, pairs: PairScores) -> Group:
    ends = intervals(pairs)
    number = int(pairs.keypoints.sum())
    return Group(value, len(pairs), number, estimates(pairs)[:2], None if ends is None else ends[:2])


def _parts(
    rows: pa.Table, alphas: Sequence[float], unseen: Generalisation | None, preset: Preset
) -> dict[str, list[Group]]:
    """Keypoints that the training was and was not shown: of one pair there may be several kinds."""
    if unseen is None:
        return {}
    parts = parted(rows, unseen.keypoints, unseen.categories)
    return {
        "what training saw": [
            _group(part.replace("_", " "), pair_scores(found, alphas, preset)) for part, found in parts
        ]
    }


def _factors(rows: pa.Table, pairs: PairScores) -> Iterator[tuple[str, list[tuple[str, NDArray[np.bool_]]]]]:
    """Each factor with its values and the pairs (P,) that have them."""
    yield "category", [(name, pairs.category == index) for index, name in enumerate(pairs.categories)]
    one = rows.take(pa.array(pair_numbers(rows)[0]))
    for factor, (column, names) in _FACTORS.items():
        found = one.column(column).fill_null(-1).to_numpy()
        values = [int(value) for value in np.unique(found) if value >= 0]
        if values:
            yield factor, [(names[v] if v < len(names) else str(v), found == v) for v in values]
    which = np.searchsorted(_NUMBERS, pairs.keypoints, side="right") - 1
    ranges = [*(f"{a}-{b - 1}" for a, b in pairwise(_NUMBERS)), f"{_NUMBERS[-1]} or more"]
    yield "keypoints", [(ranges[index], which == index) for index in np.unique(which)]


def _sides(dataset: str, rows: pa.Table) -> list[Sides]:
    known, wrong = confusions(dataset, rows)
    if not known.any():
        return []
    names, category = coded(rows, "category")
    mirrored = np.bincount(category[known], minlength=len(names))
    confused = np.bincount(category[wrong], minlength=len(names))
    by_name = zip(names, mirrored.tolist(), confused.tolist(), strict=True)
    return [
        Sides("all", int(mirrored.sum()), int(confused.sum())),
        *(Sides(name, *numbers) for name, *numbers in by_name if numbers[0]),
    ]

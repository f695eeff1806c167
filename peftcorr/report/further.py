"""The further measures of a run (`peftcorr.metrics.further`) by name, for its breakdown and the leaderboard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from peftcorr.console.numbers import Spread
from peftcorr.metrics.scores import Averages, Estimate, Further, Scores


@dataclass(frozen=True)
class Measure:
    """One of them.

    Attributes:
        name: for a row or a column.
        per_keypoint: over all keypoints.
        per_image: the mean over pairs; None where there is none.
        alpha: threshold of those that a recipe chooses.
        unit: behind a value; nothing of a PCK, which is in percent as everywhere.
    """

    name: str
    per_keypoint: Estimate
    per_image: Estimate | None = None
    alpha: str | None = None
    unit: str = ""


def measures(found: Further) -> Iterator[Measure]:
    """Those that a run has, in the order of the tables."""
    yield _averaged("PCK@0.01", found.fine)
    for alpha, averages in found.distinct.items():
        yield _averaged(f"PCK†@{alpha}", averages, alpha)
    if found.geometry_aware is not None:
        for alpha, averages in found.geometry_aware.pck.items():
            yield _averaged(f"geometry-aware PCK@{alpha}", averages, alpha)
    yield _averaged("mean error", found.mean_error, unit=" %")
    yield Measure("median error", found.median_error, unit=" %")
    yield _averaged("area under the PCK curve to 0.2", found.area, unit=" %")
    if found.confidence is not None:
        yield Measure("PCK@0.1, mean over coverages", found.confidence.mean)


def further_of(scores: Sequence[Scores], alpha: str) -> dict[str, Spread]:
    """The measures per keypoint that all seeds have, at one threshold; the interval of a single seed.

    Args:
        scores: of each seed.
        alpha: threshold of those that have one.
    """
    by_seed = [{m.name: m for m in measures(one.further)} if one.further else {} for one in scores]
    rows: dict[str, Spread] = {}
    for name, first in by_seed[0].items():
        if first.alpha in (None, alpha) and all(name in seed for seed in by_seed):
            interval = first.per_keypoint.interval if len(by_seed) == 1 else None
            values = [seed[name].per_keypoint.value for seed in by_seed]
            rows[f"{name} (%)" if first.unit else name] = Spread.over(values, interval)
    return rows


def _averaged(name: str, found: Averages, alpha: str | None = None, unit: str = "") -> Measure:
    return Measure(name, found.per_keypoint, found.per_image, alpha, unit)

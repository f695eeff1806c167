"""The further measures of a run (`peftcorr.metrics.further`) by name, for its breakdown and the leaderboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from peftcorr.console.numbers import Spread
from peftcorr.metrics.scores import Averages, Estimate, Further, Scores

Both = tuple[Estimate | None, Estimate | None]  # per keypoint, per image


@dataclass(frozen=True)
class Measure:
    """One of them.

    Attributes:
        name: for a row or a column.
        of: both averages; None where there is none.
        unit: behind a value; nothing of a PCK, which is in percent as everywhere.
    """

    name: str
    of: Callable[[Further], Both]
    unit: str = ""


def measures(found: Further) -> Iterator[Measure]:
    """Those that a run has, in the order of the tables."""
    yield Measure("PCK@0.01", lambda f: _both(f.fine))
    for alpha in found.distinct:
        yield Measure(f"PCK†@{alpha}", lambda f, a=alpha: _both(f.distinct.get(a)))
    if found.geometry_aware is not None:
        for alpha in found.geometry_aware.pck:
            yield Measure(
                f"geometry-aware PCK@{alpha}",
                lambda f, a=alpha: _both(f.geometry_aware.pck.get(a) if f.geometry_aware else None),
            )
    yield Measure("mean error", lambda f: _both(f.mean_error), " %")
    yield Measure("median error", lambda f: (f.median_error, None), " %")
    yield Measure("area under the PCK curve to 0.2", lambda f: _both(f.area), " %")
    if found.confidence is not None:
        yield Measure("PCK@0.1, mean over coverages", lambda f: (f.confidence and f.confidence.mean, None))


def further_of(scores: Sequence[Scores], alpha: str) -> dict[str, Spread]:
    """The measures per keypoint that all seeds have, at one threshold; the interval of a single seed.

    Args:
        scores: of each seed.
        alpha: threshold of those that have one.
    """
    found = [one.further for one in scores]
    known = [one for one in found if one is not None]
    if not known or len(known) < len(found):
        return {}
    rows: dict[str, Spread] = {}
    for measure in measures(known[0]):
        name, _, at = measure.name.partition("@")
        if at not in ("", alpha) and name.startswith(("PCK†", "geometry-aware")):
            continue
        estimates = [measure.of(one)[0] for one in known]
        values = [one.value for one in estimates if one is not None]
        if len(values) == len(known):
            first = estimates[0]
            interval = first.interval if first is not None and len(known) == 1 else None
            rows[measure.name + (" (%)" if measure.unit else "")] = Spread.over(values, interval)
    return rows


def _both(found: Averages | None) -> Both:
    return (None, None) if found is None else (found.per_keypoint, found.per_image)

"""How far the record of a run carried out again is from the record that it repeats, by interval and by digit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from peftcorr.metrics.presets import AGGREGATES
from peftcorr.metrics.scores import TrackingScores
from peftcorr.results.record import Record

_TRACKING = ("delta_avg", "occlusion_accuracy", "average_jaccard")
_DECIMALS = 12  # of a percentage; what differs beyond is shown as that many


@dataclass(frozen=True)
class Distance:
    """One score of a record, and what it came to when the run was carried out again.

    Attributes:
        where: "<dataset>/<split>".
        predictor: its name in the scores.
        aggregate: of `AGGREGATES`, or one of point tracking's.
        alpha: threshold; empty for point tracking.
        recorded: in percent.
        found: in percent; None where the score is missing.
        interval: the record's 95 % interval, where it has one.
    """

    where: str
    predictor: str
    aggregate: str
    alpha: str
    recorded: float
    found: float | None
    interval: tuple[float, float] | None

    @property
    def same(self) -> bool:
        """Whether every digit is the same."""
        return self.found == self.recorded

    @property
    def inside(self) -> bool:
        """Whether it is the same or lies in the record's interval; where there is none, only the same will do."""
        if self.found is None or self.same or self.interval is None:
            return self.same
        low, high = self.interval
        return low <= self.found <= high

    @property
    def decimals(self) -> int:
        """To how many decimals both round to the same; 0 where not even whole percents do."""
        if self.found is None:
            return 0
        agreeing = (n for n in range(_DECIMALS, 0, -1) if round(self.found, n) == round(self.recorded, n))
        return next(agreeing, 0)


def distances(recorded: Record, found: Record) -> list[Distance]:
    """Every score of `recorded` beside that of `found`, in the record's order."""
    return [*_pck(recorded, found), *_tracking(recorded, found)]


def _pck(recorded: Record, found: Record) -> Iterator[Distance]:
    for where, predictors in recorded.scores.items():
        for predictor, scores in predictors.items():
            there = found.scores.get(where, {}).get(predictor)
            again = {} if there is None else there.aggregates()
            for aggregate in AGGREGATES:
                intervals = (scores.intervals or {}).get(aggregate, {})
                for alpha, value in scores.aggregates()[aggregate].items():
                    now = again.get(aggregate, {}).get(alpha)
                    yield Distance(where, predictor, aggregate, alpha, value, now, intervals.get(alpha))


def _tracking(recorded: Record, found: Record) -> Iterator[Distance]:
    for where, predictors in recorded.tracking.items():
        for predictor, scores in predictors.items():
            again: TrackingScores | None = found.tracking.get(where, {}).get(predictor)
            for name in _TRACKING:
                now = None if again is None else getattr(again, name)
                yield Distance(where, predictor, name, "", getattr(scores, name), now, None)


def same_files(recorded: Record, found: Record) -> bool:
    """Whether predictions and adapter are the same to the last byte."""
    return bool(recorded.files) and recorded.files == found.files

"""Rows of the leaderboard's small table of point tracking, by TAP-Vid's metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from peftcorr.console.numbers import Spread
from peftcorr.metrics.scores import TrackingScores
from peftcorr.report.configuration import is_trained
from peftcorr.results.record import Record


@dataclass(frozen=True)
class Tracked:
    """Tracking of one configuration with one rule for the occlusion threshold; percent, mean over seeds.

    Attributes:
        threshold: similarity below which a point was called occluded, and how that was chosen.
        seeds: how many runs the numbers are the mean of.
    """

    threshold: str
    delta_avg: Spread
    occlusion_accuracy: Spread
    average_jaccard: Spread
    seeds: int


def tracked(records: Sequence[Record], dataset: str, predictor: str) -> tuple[Tracked, ...]:
    """Tracking in all runs of a configuration, one entry for each fixed threshold and one for chosen ones.

    Args:
        records: runs of the configuration on the same pairs, by run id; of two with the same seed the first counts.
        dataset, predictor: keys of the records' scores.
    """
    found: dict[float | None, dict[int | None, TrackingScores]] = {}
    for record in records:
        tracking = tracking_of(record, dataset, predictor)
        if tracking is None or predictor not in record.scores.get(dataset, {}):
            continue
        rule = None if tracking.threshold_chosen == "val" else tracking.occlusion_threshold
        found.setdefault(rule, {}).setdefault(record.seed if is_trained(record) else None, tracking)
    return tuple(
        _tracked(list(by_seed.values()))
        for _, by_seed in sorted(found.items(), key=lambda item: (item[0] is None, item[0] or 0.0))
    )


def tracking_of(record: Record, dataset: str, predictor: str) -> TrackingScores | None:
    """What a run scored as tracks, if it did."""
    return record.tracking.get(dataset, {}).get(predictor)


def _tracked(runs: Sequence[TrackingScores]) -> Tracked:
    threshold = Spread.over([run.occlusion_threshold for run in runs])
    number = f"{threshold.mean:.3g}" if not threshold.sd else f"{threshold.mean:.3g} ± {threshold.sd:.2g}"
    return Tracked(
        threshold=f"{number} ({'chosen on val' if runs[0].threshold_chosen == 'val' else 'fixed'})",
        delta_avg=Spread.over([run.delta_avg for run in runs]),
        occlusion_accuracy=Spread.over([run.occlusion_accuracy for run in runs]),
        average_jaccard=Spread.over([run.average_jaccard for run in runs]),
        seeds=len(runs),
    )

"""PCK of a configuration on what its training was shown and was not, over its seeds."""

from __future__ import annotations

import json
from collections.abc import Sequence

from peftcorr.console.numbers import Spread
from peftcorr.metrics.generalisation import PARTS
from peftcorr.metrics.presets import AGGREGATES
from peftcorr.metrics.scores import Part, Scores
from peftcorr.report.configuration import held_out, is_trained
from peftcorr.results.record import Record

PART_AGGREGATES = tuple(f"{part}_{aggregate}" for part in PARTS for aggregate in AGGREGATES)


def part_spreads(records: Sequence[Record], dataset: str, predictor: str) -> dict[str, dict[str, Spread]]:
    """PCK by one of `PART_AGGREGATES` and threshold; nothing unless all that held anything out held the same out.

    Args:
        records: of one configuration.
        dataset: ``<dataset>/<split>``.
        predictor: its name in the scores.
    """
    own = [record for record in records if dataset in record.generalisation]
    found = [record.generalisation[dataset] for record in one_a_seed(own)]
    if len({json.dumps([one.keypoints, one.categories]) for one in found}) != 1:
        return {}
    by_seed = [one.scores.get(predictor, {}) for one in found]
    return {
        f"{part}_{aggregate}": values
        for part in PARTS
        if all(part in scores for scores in by_seed)
        for aggregate, values in spreads([scores[part] for scores in by_seed]).items()
    }


def spreads(scores: Sequence[Scores]) -> dict[str, dict[str, Spread]]:
    """Mean and spread over seeds by aggregate and threshold; the interval of a single one."""
    alone = scores[0].intervals if len(scores) == 1 else None
    found: dict[str, dict[str, Spread]] = {}
    for aggregate in AGGREGATES:
        values = [one.aggregates()[aggregate] for one in scores]
        shared = [alpha for alpha in values[0] if all(alpha in other for other in values)]
        intervals = (alone or {}).get(aggregate, {})
        found[aggregate] = {
            alpha: Spread.over([one[alpha] for one in values], intervals.get(alpha)) for alpha in shared
        }
    return found


def one_a_seed(records: Sequence[Record]) -> list[Record]:
    """The first record of each seed and draw; of runs that trained nothing the seed says nothing."""
    kept: dict[tuple[int | None, str], Record] = {}
    for record in records:
        kept.setdefault((record.seed if is_trained(record) else None, held_out(record)), record)
    return list(kept.values())


def parts_of(records: Sequence[Record], dataset: str, predictor: str) -> tuple[Part, ...]:
    """The parts that any of the records was scored on."""
    there = {
        part
        for record in records
        if dataset in record.generalisation
        for part in record.generalisation[dataset].scores.get(predictor, {})
    }
    return tuple(part for part in PARTS if part in there)

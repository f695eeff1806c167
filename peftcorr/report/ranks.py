"""Rows of several seeds, and who is best of a table, when images and seeds are drawn anew.

That takes the predictions, which few leaderboards keep, and some time. So it is done where it is asked for, by
``peftcorr compile --ranks``, and what comes of it stays beside the records in ``ranks.json``, each row with the digests
of the predictions that it was made from. The leaderboard takes from there what fits its records to the last digest;
without it a row of several seeds has the wider interval that its records alone give.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from peftcorr.errors import PeftCorrError, shortened
from peftcorr.files import read_json, write_json
from peftcorr.metrics.aggregate import alpha_key
from peftcorr.metrics.bootstrap import RESAMPLES
from peftcorr.metrics.dyadic import FEWEST
from peftcorr.metrics.pair_scores import PairScores, pair_scores
from peftcorr.metrics.presets import AGGREGATES
from peftcorr.metrics.ranks import holm, rank_probabilities
from peftcorr.metrics.rows import groups
from peftcorr.metrics.seeds import (
    Seeds,
    draws,
    method_intervals,
    p_values,
    same_pairs,
    seeds_of,
    whole_error,
)
from peftcorr.report.board_tables import BoardTable, board_tables
from peftcorr.report.leaderboard import Board, Leaderboard, Row, Section, build_leaderboard
from peftcorr.results.record import Record
from peftcorr.results.runs import checked_predictions
from peftcorr.results.store import Store

FILE = "ranks.json"

Intervals = dict[str, dict[str, tuple[float, float]]]
_Wanted = tuple[str, str]  # split and predictor


class Standing(BaseModel):
    """A row of a table, as often drawn anew.

    Attributes:
        runs: digest of the predictions of every run, by run id.
        intervals: of the mean over seeds, by aggregate and threshold; empty for a single run.
        best: in what share of resamples it is the best of its table; None where a row of the table is not known.
        corrected: p-value of its gain over the frozen backbone, for all gains of the table; None as `best`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    runs: dict[str, str]
    intervals: Intervals = {}
    best: float | None = None
    corrected: float | None = None


class RankedTable(BaseModel):
    """A table of the leaderboard, by its names."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    tested_on: str
    predictor: str
    table: str
    rows: list[Standing]


class Ranks(BaseModel):
    """What ``ranks.json`` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    resamples: int
    tables: list[RankedTable]


@dataclass(frozen=True)
class Standings:
    """What of `Ranks` fits a leaderboard's records.

    Attributes:
        tables: of each table, by what it was tested on, its predictor and its title: a standing for each row's
            `scored` runs. A table that has other rows by now is not here.
        rows: standing of each row with intervals, by what it was tested on, its predictor and its runs.
    """

    tables: Mapping[tuple[str, str, str], Mapping[tuple[str, ...], Standing]]
    rows: Mapping[tuple[str, str, tuple[str, ...]], Standing]


def rank_rows(leaderboard: Leaderboard, store: Store, resamples: int = RESAMPLES) -> Ranks:
    """Draw images and seeds anew for every table, from the predictions that are there.

    Raises:
        PeftCorrError: if predictions are not those that their record has the digest of.
    """
    records = {record.run_id: record for _, record in leaderboard.runs}
    found = _Scored(leaderboard, records, store)
    tables = []
    for section in leaderboard.sections:
        for board in section.boards:
            for one in board_tables(board):
                rows = _ranked(section, board, one, found, resamples)
                if rows:
                    tables.append(
                        RankedTable(
                            tested_on=section.title, predictor=board.predictor, table=one.title, rows=rows
                        )
                    )
    return Ranks(resamples=resamples, tables=tables)


def write_ranks(root: Path, ranks: Ranks) -> None:
    """Write ``ranks.json`` below an output folder."""
    write_json(root / FILE, ranks.model_dump(mode="json"))


def read_standings(root: Path, leaderboard: Leaderboard) -> Standings:
    """Read what of ``ranks.json`` fits a leaderboard; nothing where there is no such file.

    Raises:
        PeftCorrError: if it is there and is not what `write_ranks` wrote.
    """
    path = root / FILE
    if not path.is_file():
        return Standings({}, {})
    try:
        ranks = Ranks.model_validate(read_json(path))
    except (ValueError, ValidationError) as error:
        told = shortened(str(error), 200)
        raise PeftCorrError(
            f"{path} is not as peftcorr compile --ranks writes it ({told}): delete it, or write it anew."
        ) from error
    digests = {record.run_id: _digest(record) for _, record in leaderboard.runs}
    tables, rows = {}, {}
    for table in ranks.tables:
        sound = {
            tuple(row.runs): row
            for row in table.rows
            if all(digests.get(run) == digest for run, digest in row.runs.items())
        }
        rows.update(
            {(table.tested_on, table.predictor, runs): row for runs, row in sound.items() if row.intervals}
        )
        tables[table.tested_on, table.predictor, table.table] = sound
    there = {
        (section.title, board.predictor, one.title): {row.scored for row in one.rows}
        for section in leaderboard.sections
        for board in section.boards
        for one in board_tables(board)
    }
    return Standings({key: known for key, known in tables.items() if known.keys() == there.get(key)}, rows)


def ranked(records: Sequence[Record], root: Path) -> tuple[Leaderboard, Standings]:
    """The leaderboard of some records, with what ``ranks.json`` below `root` has of it.

    Raises:
        PeftCorrError: as `read_standings`.
    """
    leaderboard = build_leaderboard(records)
    standings = read_standings(root, leaderboard)
    return with_intervals(leaderboard, standings), standings


def with_intervals(leaderboard: Leaderboard, standings: Standings) -> Leaderboard:
    """The same leaderboard, its rows of several seeds with the intervals of their standings."""

    def own(section: Section, board: Board, row: Row) -> Row:
        standing = standings.rows.get((section.title, board.predictor, row.scored))
        if standing is None:
            return row
        spreads: dict[str, Any] = {}
        for aggregate, by_alpha in standing.intervals.items():
            values = getattr(row, aggregate)
            spreads[aggregate] = {
                alpha: replace(spread, interval=by_alpha.get(alpha, spread.interval))
                for alpha, spread in values.items()
            }
        return replace(row, **spreads)

    sections = tuple(
        replace(
            section,
            boards=tuple(
                replace(board, rows=tuple(own(section, board, row) for row in board.rows))
                for board in section.boards
            ),
        )
        for section in leaderboard.sections
    )
    return replace(leaderboard, sections=sections)


class _Scored:
    """Pair scores of every run that left predictions, each file read once."""

    def __init__(self, leaderboard: Leaderboard, records: Mapping[str, Record], store: Store):
        wanted: dict[str, dict[_Wanted, tuple[str, ...]]] = defaultdict(dict)
        for section in leaderboard.sections:
            for board in section.boards:
                for row in board.rows:
                    for run in row.scored:
                        wanted[run][section.dataset, board.predictor] = board.alphas
        self.digests = {run: _digest(records[run]) for run in wanted}
        self._found: dict[tuple[str, _Wanted], PairScores] = {}
        for run, asked in wanted.items():
            path = store.predictions_path(run)
            if self.digests[run] is None or not path.is_file():
                continue
            for (dataset, split, predictor), rows in groups(checked_predictions(path)):
                if (alphas := asked.get((f"{dataset}/{split}", predictor))) is not None:
                    scored = pair_scores(rows, [float(alpha) for alpha in alphas], records[run].protocol)
                    self._found[run, (f"{dataset}/{split}", predictor)] = scored

    def of(self, row: Row, wanted: _Wanted) -> list[PairScores] | None:
        """Of every run of a row; None where one left none, or on too few images."""
        found = [self._found.get((run, wanted)) for run in row.scored]
        known = [one for one in found if one is not None and one.images >= FEWEST]
        return known if known and len(known) == len(found) else None


def _ranked(
    section: Section, board: Board, one: BoardTable, found: _Scored, resamples: int
) -> list[Standing]:
    """The rows of a table that left predictions; with ranks where all did, on the same pairs."""
    runs = {row.scored: found.of(row, (section.dataset, board.predictor)) for row in one.rows}
    there = {key: scored for key, scored in runs.items() if scored is not None}
    best: dict[tuple[str, ...], float] = {}
    corrected: dict[tuple[str, ...], float] = {}
    every = [scored for group in there.values() for scored in group]
    if len(there) == len(one.rows) > 1 and all(same_pairs(every[0], other) for other in every[1:]):
        place = board.alphas.index(board.ranked_by)
        methods = {key: seeds_of([_at(pairs, place) for pairs in group]) for key, group in there.items()}
        shares = rank_probabilities(list(methods.values()), resamples)[:, 0, 0, 0]
        best = {key: round(float(share), 4) for key, share in zip(methods, shares, strict=True)}
        frozen = {row.start: methods[row.scored] for row in one.rows if row.is_frozen}
        gains = {
            row.scored: _p_value([frozen[row.start], methods[row.scored]], resamples)
            for row in one.rows
            if not row.is_frozen and row.start in frozen
        }
        raised = holm(list(gains.values()))
        corrected = {key: round(value, 4) for key, value in zip(gains, raised, strict=True)}
    return [
        Standing(
            runs={run: found.digests[run] or "" for run in key},
            intervals=_intervals(group, resamples) if len(group) > 1 else {},
            best=best.get(key),
            corrected=corrected.get(key),
        )
        for key, group in there.items()
        if len(group) > 1 or best
    ]


def _p_value(methods: Sequence[Seeds], resamples: int) -> float:
    """Of the second method's gain over the first, by PCK per keypoint."""
    value, _, _, freedom = whole_error(methods, [-1, 1])
    return float(p_values(draws(methods, [-1, 1], resamples), value, freedom)[0, 0])


def _intervals(runs: Sequence[PairScores], resamples: int) -> Intervals:
    if not all(same_pairs(runs[0], other) for other in runs[1:]):
        return {}
    ends = method_intervals(runs, resamples)
    assert ends is not None
    return {
        aggregate: {
            alpha_key(alpha): (round(float(low), 4), round(float(high), 4))
            for alpha, (low, high) in zip(runs[0].alphas, ends[index], strict=True)
        }
        for index, aggregate in enumerate(AGGREGATES)
        if not np.isnan(ends[index]).any()
    }


def _at(pairs: PairScores, place: int) -> PairScores:
    """The same pairs at one threshold."""
    return replace(pairs, alphas=pairs.alphas[place : place + 1], correct=pairs.correct[place : place + 1])


def _digest(record: Record) -> str | None:
    """Of the predictions that a record's scores were made from; None in records of version 1."""
    return record.files.get(f"predictions/{record.run_id}.parquet")

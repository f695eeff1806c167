"""Which rows are compared in pairs on the site, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from peftcorr.errors import PeftCorrError
from peftcorr.metrics.compare import Difference
from peftcorr.metrics.ranks import holm
from peftcorr.report.leaderboard import Board, Leaderboard, Row, Section, shown_board
from peftcorr.report.paired import paired_difference, rows_of
from peftcorr.report.site.board_data import board_title
from peftcorr.results.store import Store

MOST = 20  # rows of a board that are compared with their frozen backbone
_REMEMBERED = 8  # runs whose predictions are held: those of the frozen backbone or the best row among them
NEXT = 5  # rows of a board that are compared with its best


@dataclass(frozen=True)
class Paired:
    """One row of a board beside another: the runs of each, and the second's PCK minus the first's."""

    first: Row
    second: Row
    runs: tuple[tuple[str, ...], tuple[str, ...]]
    difference: Difference


def paired_differences(leaderboard: Leaderboard, store: Store) -> dict[str, list[Paired]]:
    """Compare rows whose predictions are there, by the title of their board.

    Of each board that stands for its section: the best `MOST` rows with their frozen backbone, and the best row with
    the `NEXT` ones below it; every seed of each that left predictions. Runs that were not scored on the same keypoints
    are not compared. P-values are corrected for all of a board.
    """
    found = {}
    for section in leaderboard.sections:
        board = shown_board(section)
        pairs = list(_pairs(section, board, store))
        if pairs:
            found[board_title(section, board)] = _corrected(pairs)
    return found


def _corrected(pairs: list[Paired]) -> list[Paired]:
    values = iter(holm([one.difference.p_value for one in pairs if one.difference.p_value is not None]))
    return [
        one
        if one.difference.p_value is None
        else replace(one, difference=replace(one.difference, corrected=next(values)))
        for one in pairs
    ]


def _pairs(section: Section, board: Board, store: Store) -> Iterator[Paired]:
    runs: dict[int, tuple[str, ...]] = {}
    for place, row in enumerate(board.rows):
        if left := tuple(run for run in row.scored if store.predictions_path(run).is_file()):
            runs[place] = left
    frozen = {board.rows[place].start: place for place in reversed(runs) if board.rows[place].is_frozen}
    trained = [place for place in runs if not board.rows[place].is_frozen]
    asked = [
        (frozen[board.rows[place].start], place)
        for place in trained[:MOST]
        if board.rows[place].start in frozen
    ]
    asked += [(place, trained[0]) for place in trained[1 : 1 + NEXT]]
    read = lru_cache(maxsize=_REMEMBERED)(rows_of)
    for first, second in asked:
        one, other = ([store.predictions_path(run) for run in runs[place]] for place in (first, second))
        try:
            difference = paired_difference(
                one, other, section.dataset, board.predictor, board.ranked_by, section.protocol, read
            )
        except PeftCorrError:  # as many pairs, but not the same ones
            continue
        yield Paired(board.rows[first], board.rows[second], (runs[first], runs[second]), difference)

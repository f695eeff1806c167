"""Which rows are compared in pairs on the site, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from peftcorr.errors import PeftCorrError
from peftcorr.metrics.compare import Difference
from peftcorr.report.leaderboard import Board, Leaderboard, Row, Section, shown_board
from peftcorr.report.paired import paired_difference
from peftcorr.report.site.board_data import board_title
from peftcorr.results.store import Store

MOST = 20  # rows of a board that are compared with their frozen backbone
NEXT = 5  # rows of a board that are compared with its best


@dataclass(frozen=True)
class Paired:
    """One row of a board beside another: the run of each, and the second's PCK minus the first's."""

    first: Row
    second: Row
    runs: tuple[str, str]
    difference: Difference


def paired_differences(leaderboard: Leaderboard, store: Store) -> dict[str, list[Paired]]:
    """Compare rows whose predictions are there, by the title of their board.

    Of each board that stands for its section: the best `MOST` rows with their frozen backbone, and the best row with
    the `NEXT` ones below it; the first run of each that left predictions. Runs that were not scored on the same
    keypoints are not compared.
    """
    found = {}
    for section in leaderboard.sections:
        board = shown_board(section)
        pairs = list(_pairs(section, board, store))
        if pairs:
            found[board_title(section, board)] = pairs
    return found


def _pairs(section: Section, board: Board, store: Store) -> Iterator[Paired]:
    runs: dict[int, str] = {}
    for place, row in enumerate(board.rows):
        left = (run for run in row.run_ids if store.predictions_path(run).is_file())
        if (run := next(left, None)) is not None:
            runs[place] = run
    frozen = {board.rows[place].start: place for place in reversed(runs) if board.rows[place].is_frozen}
    trained = [place for place in runs if not board.rows[place].is_frozen]
    asked = [
        (frozen[board.rows[place].start], place)
        for place in trained[:MOST]
        if board.rows[place].start in frozen
    ]
    asked += [(place, trained[0]) for place in trained[1 : 1 + NEXT]]
    for first, second in asked:
        paths = store.predictions_path(runs[first]), store.predictions_path(runs[second])
        try:
            difference = paired_difference(
                *paths, section.dataset, board.predictor, board.ranked_by, section.protocol
            )
        except PeftCorrError:  # as many pairs, but not the same ones
            continue
        yield Paired(board.rows[first], board.rows[second], (runs[first], runs[second]), difference)

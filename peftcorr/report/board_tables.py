"""A board as it is read: a table for each backbone, input size and training set, and the best within a budget."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from peftcorr.console import numbers
from peftcorr.report.leaderboard import Board, Row
from peftcorr.report.pareto import pareto_front

BUDGETS = (10_000, 100_000, 1_000_000, 10_000_000)
"""Trainable parameters."""


@dataclass(frozen=True)
class BoardTable:
    """Rows that differ in the strategy alone, best first; the frozen backbone is among them.

    `front` says of each row whether no other of this table reaches its PCK with as few trainable parameters.
    """

    backbone: str
    image_size: int | None
    trained_on: str
    rows: tuple[Row, ...]
    front: tuple[bool, ...]

    @property
    def title(self) -> str:
        """``tiny, 112 px, trained on synthetic``."""
        trained = "frozen" if self.trained_on == numbers.MISSING else f"trained on {self.trained_on}"
        return f"{model_name(self.backbone, self.image_size)}, {trained}"


def board_tables(board: Board) -> list[BoardTable]:
    """Return the tables of a board, by name; frozen backbones stand in all tables of theirs, or in one of their own."""
    models: dict[tuple[str, int | None], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in board.rows:
        models[row.backbone, row.image_size][row.trained_on].append(row)
    found = []
    for backbone, size in sorted(models, key=lambda model: (model[0], model[1] or 0)):
        by_data = models[backbone, size]
        frozen = by_data.pop(numbers.MISSING, [])
        for trained_on, trained in sorted(by_data.items()) or [(numbers.MISSING, [])]:
            kept = {row.run_ids for row in (*trained, *frozen)}
            rows = tuple(
                row
                for row in board.rows
                if row.run_ids in kept and (row.backbone, row.image_size) == (backbone, size)
            )
            front = pareto_front([row.trainable for row in rows], [score(row, board) for row in rows])
            found.append(BoardTable(backbone, size, trained_on, rows, tuple(front)))
    return found


def shown_alphas(board: Board) -> tuple[str, ...]:
    """The threshold that ranks, then the one below and the one above it where there are any."""
    if board.ranked_by not in board.alphas:
        return ()
    place = board.alphas.index(board.ranked_by)
    return (board.ranked_by, *board.alphas[max(place - 1, 0) : place], *board.alphas[place + 1 : place + 2])


def best_within(rows: Sequence[Row], board: Board, budget: int) -> Row | None:
    """The row of most PCK with at most `budget` trainable parameters, of a board's `rows` in their order."""
    affordable = (row for row in rows if row.trainable is not None and row.trainable <= budget)
    return next((row for row in affordable if score(row, board) is not None), None)


def score(row: Row, board: Board) -> float | None:
    """PCK per keypoint in percent at the threshold that ranks a board."""
    found = row.per_keypoint.get(board.ranked_by)
    return None if found is None else found.mean


def strategy_name(row: Row) -> str:
    """The row's label, and how many seeds it is the mean of where there are several."""
    return f"{row.label}, {len(row.seeds)} seeds" if len(row.seeds) > 1 else row.label


def model_name(backbone: str, image_size: int | None) -> str:
    """``tiny, 112 px``."""
    return f"{backbone}, {image_size} px" if image_size else backbone

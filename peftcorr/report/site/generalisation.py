"""What training on each dataset is worth on each split: the transfer matrix, the best strategy of each row alone."""

from __future__ import annotations

from dataclasses import dataclass

from peftcorr.console.numbers import MISSING
from peftcorr.report.transfer import TransferMatrix, Transferred, TransferRow


@dataclass(frozen=True)
class Best:
    """The cell of most PCK among the strategies that were trained on one dataset, and which strategy that is."""

    label: str
    cell: Transferred


@dataclass(frozen=True)
class Generalisation:
    """One backbone at one input size: a row for each training set, the frozen backbone's first; None: not tested."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Best | None, ...]], ...]


def generalisation(matrix: TransferMatrix) -> Generalisation:
    """Return the best of each training set in every column of a transfer matrix."""
    by_data: dict[str, list[TransferRow]] = {}
    for row in matrix.rows:  # the frozen ones come first
        by_data.setdefault(row.trained_on, []).append(row)
    rows = tuple(
        (
            "frozen" if data == MISSING else data,
            tuple(_best(rows, place) for place in range(len(matrix.columns))),
        )
        for data, rows in by_data.items()
    )
    return Generalisation(matrix.title, matrix.columns, rows)


def _best(rows: list[TransferRow], place: int) -> Best | None:
    cells = [(row.label, row.cells[place]) for row in rows]
    known = [Best(label, cell) for label, cell in cells if cell is not None]
    return max(known, key=lambda one: one.cell.score.mean, default=None)

"""The transfer matrix: trained on rows, tested on columns, each beside the frozen backbone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from peftcorr.console import numbers
from peftcorr.report.leaderboard import Leaderboard, Section, shown_board
from peftcorr.report.pairs import definition_label
from peftcorr.report.pipes import escaped, table

_INTRODUCTION = """\
## Trained on one dataset, tested on another

Each row is a strategy and what it was trained on, each column what it was tested on; the value is the PCK per keypoint
that the column names, mean ± standard deviation over the seeds. In brackets stands the difference in points to the
frozen backbone with the same input on the same pairs: where it is negative, fine-tuning has hurt. *Italics* mark the
dataset that a row was trained on. Neither the deviation over seeds nor the sign of one difference is an interval:
`peftcorr compare` has the paired one of two runs.
"""


@dataclass(frozen=True)
class Transferred:
    """PCK per keypoint in percent on one test set, and how far it is from the frozen backbone's, in points.

    `difference` is None for the frozen backbone itself, and where it was not run or its runs do not agree; `own` is
    whether the test set belongs to the dataset that was trained on.
    """

    score: numbers.Spread
    difference: float | None
    own: bool
    seeds: int


@dataclass(frozen=True)
class TransferRow:
    """One configuration; a cell for each column, None where it was not tested."""

    label: str
    trained_on: str
    cells: tuple[Transferred | None, ...]


@dataclass(frozen=True)
class TransferMatrix:
    """All configurations of one backbone at one input size, scored by one definition; the frozen ones come first."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[TransferRow, ...]


def transfer_matrices(leaderboard: Leaderboard) -> tuple[TransferMatrix, ...]:
    """Return a matrix for each backbone with a run that was tested on something it was not trained on."""
    groups: dict[tuple[str, str, int], list[Section]] = defaultdict(list)
    for section in leaderboard.sections:
        protocol = definition_label(section)
        for backbone, size in {(row.backbone, row.image_size or 0) for row in shown_board(section).rows}:
            groups[protocol, backbone, size].append(section)
    found = []
    for (protocol, backbone, size), sections in sorted(groups.items(), key=lambda group: group[0]):
        rows = _rows(sections, backbone, size)
        if any(cell and not cell.own for row in rows if not _is_frozen(row) for cell in row.cells):
            title = ", ".join(filter(None, (backbone, f"{size} px" if size else "", protocol)))
            boards = [(section.title, shown_board(section)) for section in sections]
            columns = (f"{name}, {board.predictor}: PCK@{board.ranked_by}" for name, board in boards)
            found.append(TransferMatrix(title, tuple(columns), rows))
    return tuple(found)


def transfer_section(leaderboard: Leaderboard) -> str:
    """Return the matrices as Markdown, or nothing where nothing was transferred."""
    matrices = transfer_matrices(leaderboard)
    parts = [_INTRODUCTION] if matrices else []
    parts += [f"### Transfer of {escaped(matrix.title)}\n\n{_table(matrix)}\n" for matrix in matrices]
    return "\n".join(parts)


def _rows(sections: Sequence[Section], backbone: str, size: int) -> tuple[TransferRow, ...]:
    # Records of version 1 have labels of their own: one may be that of later records too.
    cells: dict[tuple[str, str, bool], list[Transferred | None]] = defaultdict(lambda: [None] * len(sections))
    for index, section in enumerate(sections):
        board = shown_board(section)
        dataset = section.dataset.rpartition("/")[0]
        for row in board.rows:
            score = row.per_keypoint.get(board.ranked_by)
            if (row.backbone, row.image_size or 0) == (backbone, size) and score is not None:
                cell = Transferred(score, row.gain, row.dataset == dataset, len(row.seeds))
                cells[row.label, row.trained_on, not section.traced][index] = cell
    ordered = sorted(cells, key=lambda key: (key[1] != numbers.MISSING, key))
    return tuple(TransferRow(*key[:2], tuple(cells[key])) for key in ordered)


def _is_frozen(row: TransferRow) -> bool:
    return row.trained_on == numbers.MISSING


def _table(matrix: TransferMatrix) -> str:
    header = ["Strategy", "Trained on", "Seeds", *map(escaped, matrix.columns)]
    rows = [
        [escaped(row.label), escaped(row.trained_on), _seeds(row), *map(_cell, row.cells)]
        for row in matrix.rows
    ]
    return table(header, rows, left=(0, 1))


def _seeds(row: TransferRow) -> str:
    if _is_frozen(row):
        return numbers.MISSING
    counts = sorted({cell.seeds for cell in row.cells if cell is not None})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _cell(cell: Transferred | None) -> str:
    if cell is None:
        return numbers.MISSING
    score = numbers.percentage(cell.score)
    shown = f"*{score}*" if cell.own else score
    return shown if cell.difference is None else f"{shown} ({numbers.signed(cell.difference)})"

"""Every row of the leaderboard with every aggregate, as a table of comma-separated values."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from peftcorr.console.numbers import MISSING, Spread
from peftcorr.errors import visible
from peftcorr.metrics.presets import AGGREGATES
from peftcorr.report.leaderboard import Board, Leaderboard, Row, Section

Cell = str | int | float | None

BEGINNING = "tested_on,"  # of every such file

_FORMULA = ("=", "+", "-", "@")  # what a spreadsheet would compute


def every_row(leaderboard: Leaderboard) -> str:
    """Return the rows in the order of the boards, PCK in percent, gain in points, sizes in bytes; nothing for unknown.

    A text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    rows = [
        _cells(section, board, row)
        for section in leaderboard.sections
        for board in section.boards
        for row in board.rows
    ]
    # Boards have thresholds of their own: those of one stand beside each other in every column's place.
    names = dict.fromkeys([*_FIRST, *(name for cells in rows for name in cells)])
    stream = io.StringIO()
    writer = csv.DictWriter(stream, sorted(names, key=_place), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _written(cell) for name, cell in cells.items()} for cells in rows)
    return stream.getvalue()


_FIRST = (
    "tested_on", "predictor", "pairs", "keypoints", "strategy", "method", "backbone", "image_size", "trained_on",
    "seeds", "trainable_parameters", "total_parameters",
)  # fmt: skip
_LAST = ("gain", "train_seconds", "peak_memory_bytes", "adapter_bytes", "runs")


def _cells(section: Section, board: Board, row: Row) -> dict[str, Cell]:
    return {
        "tested_on": section.title,
        "predictor": board.predictor,
        "pairs": section.n_pairs,
        "keypoints": section.n_keypoints,
        "strategy": row.label,
        "method": row.strategy,
        "backbone": row.backbone,
        "image_size": row.image_size,
        "trained_on": None if row.trained_on == MISSING else row.trained_on,
        "seeds": " ".join(map(str, row.seeds)),
        "trainable_parameters": row.trainable,
        "total_parameters": row.total,
        **dict(_scores(row)),
        "gain": row.gain,
        "train_seconds": row.train_seconds,
        "peak_memory_bytes": row.peak_memory,
        "adapter_bytes": row.adapter_bytes,
        "runs": " ".join(row.run_ids),
    }


def _scores(row: Row) -> Iterator[tuple[str, Cell]]:
    for aggregate in AGGREGATES:
        values: dict[str, Spread] = getattr(row, aggregate)
        for alpha, value in values.items():
            low, high = value.interval or (None, None)
            for ending, number in (("", value.mean), ("_sd", value.sd), ("_low", low), ("_high", high)):
                yield f"{aggregate}@{alpha}{ending}", number


def _place(name: str) -> tuple[int, int, float, int]:
    """Where a column stands: what a row is, its scores by aggregate and threshold, what it took."""
    if name in _FIRST:
        return (0, _FIRST.index(name), 0, 0)
    if name in _LAST:
        return (2, _LAST.index(name), 0, 0)
    aggregate, _, rest = name.partition("@")
    alpha, _, ending = rest.partition("_")
    return (1, [*AGGREGATES].index(aggregate), float(alpha), ("", "sd", "low", "high").index(ending))  # type: ignore[arg-type]


def _written(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.6g}"
    text = visible(str(cell))
    return f"'{text}" if isinstance(cell, str) and text.startswith(_FORMULA) else text

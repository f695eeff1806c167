"""PCK against trainable parameters: a figure a training set, a panel a backbone, a mark a row, the front named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from peftcorr.console.numbers import MISSING
from peftcorr.report.labels import groups_of
from peftcorr.report.leaderboard import Board, Row
from peftcorr.report.marks import Style, styles
from peftcorr.report.names_beside import Named, name_beside
from peftcorr.report.pareto import pareto_front
from peftcorr.report.rendering import FONT, Format, label_of, rendered

_LONGEST = 120  # letters of a title
_DASHES = (0, (5, 2))
_WIDE = 9.0  # inches
_LETTER = 0.62 * FONT  # width of a letter, points
_LINE = 1.5 * FONT  # height of a line of the legend, points


def training_sets(board: Board) -> list[str]:
    """What the rows of a board were trained on, each of which has a figure of its own.

    Rows that were trained on nothing are in all of them; they have one to themselves where no row was trained.
    """
    found = dict.fromkeys(row.trained_on for row in board.rows)
    return sorted(name for name in found if name != MISSING) or list(found)


def draw(
    title: str, board: Board, strategies: Sequence[str], trained_on: str | None = None, kind: Format = "svg"
) -> bytes:
    """Return the figure of one board, the same bytes for the same rows.

    Args:
        title: what was scored.
        board: rows to draw; those without a parameter count or without the board's PCK are left out.
        strategies: all strategies of the leaderboard, so that a mark means one thing in all figures.
        trained_on: rows that were trained on this alone, and those that were trained on nothing; None for the first
            of `training_sets`.
        kind: of file.
    """
    chosen = (training_sets(board) or [MISSING])[0] if trained_on is None else trained_on
    rows = [
        row
        for row in board.rows
        if row.trained_on in (chosen, MISSING)
        and row.trainable is not None
        and board.ranked_by in row.per_keypoint
    ]
    told = f"{title}, {board.predictor}" + (f", trained on {chosen}" if chosen != MISSING else "")
    return rendered(lambda: _figure(told, rows, board.ranked_by, strategies), kind)


def _figure(title: str, rows: Sequence[Row], alpha: str, strategies: Sequence[str]) -> Figure:
    groups = groups_of((row.backbone, row.image_size) for row in rows) or [[]]
    style = styles([(row.strategy, row.label) for row in rows], strategies)
    columns = min(2, len(groups))
    lines = math.ceil(len(groups) / columns)
    legend, legend_columns = _legend(rows, style)
    below = math.ceil(len(legend) / legend_columns) * _LINE / 72
    figure = Figure(figsize=(_WIDE, 0.8 + 4.6 * lines + below), dpi=72, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(label_of(title, _LONGEST), x=0.01, ha="left", weight="bold", fontsize=FONT + 2)
    # Beside each other, panels have one scale: a point higher up is better, in whichever of them.
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(groups) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel(f"PCK@{alpha} per keypoint (%)")
    fewest = min((row.trainable for row in rows if row.trainable), default=100_000)
    most = 2 * max((row.trainable or 0 for row in rows), default=fewest) or fewest
    # Logarithmic from the power of ten below the fewest on, with a place for none.
    panels[0, 0].set_xscale("symlog", linthresh=10 ** int(math.log10(fewest)), linscale=0.5)
    panels[0, 0].set_xlim(-fewest / 5 if any(row.trainable == 0 for row in rows) else fewest / 2, most)
    panels[0, 0].margins(y=0.12)
    parts = [[rows[index] for index in group] for group in groups]
    for axes, part in zip(panels.flat, parts, strict=False):
        _panel(axes, part, alpha, style, most)
    figure.legend(
        handles=legend, loc="outside lower left", ncols=legend_columns, handletextpad=0.4, columnspacing=1.4
    )
    figure.draw_without_rendering()  # places the panels, which the names must know
    figure.set_layout_engine("none")
    for axes, part in zip(panels.flat, parts, strict=False):
        _name_front(axes, part, alpha, most)
    return figure


def _panel(axes: Any, rows: Sequence[Row], alpha: str, style: dict[str, Style], most: float) -> None:
    """The rows of one backbone and their front."""
    axes.set_xlabel("trainable parameters")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(axis="y")
    if not rows:
        return
    backbone, size = rows[0].backbone, rows[0].image_size
    axes.set_title(label_of(f"{backbone}, {size} px" if size else backbone))
    corners = _steps(rows, alpha, most)
    if corners:
        axes.plot(*zip(*corners, strict=True), color="0.45", linewidth=1.2, linestyle=_DASHES, zorder=1)
    for row in rows:
        value = row.per_keypoint[alpha]
        axes.errorbar(
            row.trainable, value.mean, yerr=value.sd or None, capsize=2.5, elinewidth=1, zorder=4,
            **style[row.label].options(),
        )  # fmt: skip


def _front(rows: Sequence[Row], alpha: str) -> list[Row]:
    """The rows that no other of the panel beats with as few parameters, those with the fewest first."""
    on = pareto_front([row.trainable for row in rows], [row.per_keypoint[alpha].mean for row in rows])
    front = [row for row, is_on in zip(rows, on, strict=True) if is_on]
    return sorted(front, key=lambda row: (row.trainable or 0, row.per_keypoint[alpha].mean))


def _steps(rows: Sequence[Row], alpha: str, most: float) -> list[tuple[float, float]]:
    """Corners of the front's line: what can be had for at most so many parameters."""
    corners: list[tuple[float, float]] = []
    for row in _front(rows, alpha):
        place = float(row.trainable or 0), row.per_keypoint[alpha].mean
        corners += [(place[0], corners[-1][1]), place] if corners else [place]
    return [*corners, (most, corners[-1][1])] if corners else []


def _name_front(axes: Any, rows: Sequence[Row], alpha: str, most: float) -> None:
    """Name the rows of the front; the strategy alone where no other of them has the same."""
    front = _front(rows, alpha)
    strategies = [row.strategy for row in front]
    named = []
    for row in reversed(front):  # the best first, while there is room
        short = (label_of(row.strategy),) if strategies.count(row.strategy) == 1 else ()
        names = tuple(dict.fromkeys((label_of(row.label), *short)))
        named.append(Named(row.trainable or 0, row.per_keypoint[alpha].mean, names))
    marks = [
        (float(row.trainable or 0), row.per_keypoint[alpha].mean, row.per_keypoint[alpha].sd or 0.0)
        for row in rows
    ]
    name_beside(axes, named, marks, _steps(rows, alpha, most))


def _legend(rows: Sequence[Row], style: dict[str, Style]) -> tuple[list[Line2D], int]:
    """A handle for every label, and in how many columns they fit."""
    labels = sorted({(list(style).index(row.label), row.label) for row in rows})
    handles = [Line2D([], [], label=label_of(label), **style[label].options()) for _, label in labels]
    handles.append(Line2D([], [], color="0.45", linestyle=_DASHES, label="Pareto front"))
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = int(72 * _WIDE / (_LETTER * longest + 36))
    return handles, max(1, min(columns, len(handles)))

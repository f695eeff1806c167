"""PCK against trainable parameters as an SVG: a panel per backbone, a marker per strategy, the front."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from peftcorr.report.labels import groups_of
from peftcorr.report.leaderboard import Board, Row

# Shape tells strategies apart on paper and without colour; colour (Okabe and Ito's palette) only helps.
_STYLES = {
    "frozen": ("s", "#000000"),
    "last_k": ("^", "#D55E00"),
    "lora": ("o", "#0072B2"),
    "adapter": ("D", "#009E73"),
    "adaptformer": ("v", "#CC79A7"),
}
_MORE_MARKERS = ("P", "X", "p", "<", ">", "h", "*", "d")
_MORE_COLOURS = ("#E69F00", "#56B4E9", "#882255", "#44AA99")

_WIDTH, _PANEL_HEIGHT = 9.0, 4.0  # inches at 72 per inch: 648 units wide, which a README scales up a little
_LEFT, _RIGHT, _TOP, _BOTTOM, _GAP_X, _GAP_Y = 0.7, 0.15, 0.75, 1.0, 0.35, 0.95
_FONT = 9.5
_SETTINGS: dict[str, Any] = {
    "svg.hashsalt": "peftcorr",
    "svg.fonttype": "none",
    "font.size": _FONT,
    "font.sans-serif": [
        "DejaVu Sans",
        "Verdana",
        "Arial",
    ],  # the second is as wide where the first is missing
    "axes.unicode_minus": False,
}
_COMMENT = re.compile("<!--.*?-->")
_DECIMALS = re.compile(r"\d+\.\d{3,}(?=[^<>]*>)")  # of a tag, not of a text between two
_DASHES = (0, (5, 2))
_TICKS = (
    (100.0, (1, 2, 5)),
    (10_000.0, (1, 3)),
    (math.inf, (1,)),
)  # up to a span, multiples of a power of ten
_DECADE_FROM_ZERO = 10**0.6  # how far left of the fewest parameters the place for none is


def draw(title: str, board: Board, strategies: Sequence[str]) -> bytes:
    """Return the figure of one board as SVG, the same bytes for the same rows.

    Args:
        title: what was scored.
        board: rows to draw; those without a parameter count or without the board's PCK are left out.
        strategies: all strategies of the leaderboard, so that a marker means one thing in all figures.
    """
    return svg(lambda: _figure(title, board, strategies))


def svg(make: Callable[[], Figure]) -> bytes:
    """Return the figure that `make` makes as a small SVG; the same bytes for the same figure.

    Text stays text, coordinates have two decimals (units of 1/72 inch), and all is one line.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # the user's matplotlibrc must not change the bytes
        matplotlib.rcParams.update(_SETTINGS)
        stream = io.BytesIO()
        make().savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = _COMMENT.sub("", stream.getvalue().decode())
    text = _DECIMALS.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), text)
    return " ".join(text.split()).replace("> <", "><").encode() + b"\n"


def _figure(title: str, board: Board, strategies: Sequence[str]) -> Figure:
    rows = [row for row in board.rows if row.trainable is not None and board.ranked_by in row.per_keypoint]
    panels = groups_of((row.backbone, row.image_size) for row in rows) or [[]]
    columns = min(2, len(panels))
    lines = math.ceil(len(panels) / columns)
    height = _TOP + _BOTTOM + lines * _PANEL_HEIGHT + (lines - 1) * _GAP_Y
    figure = Figure(figsize=(_WIDTH, height), dpi=72, facecolor="white")
    FigureCanvasAgg(figure)
    style = _styles(strategies)
    scale = _Scale([row.trainable or 0 for row in rows])
    low, high = _accuracy_limits(rows, board.ranked_by)
    width = (_WIDTH - _LEFT - _RIGHT - (columns - 1) * _GAP_X) / columns
    for number, panel in enumerate(panels):
        line, column = divmod(number, columns)
        bottom = height - _TOP - _PANEL_HEIGHT - line * (_PANEL_HEIGHT + _GAP_Y)
        left = _LEFT + column * (width + _GAP_X)
        axes = figure.add_axes((left / _WIDTH, bottom / height, width / _WIDTH, _PANEL_HEIGHT / height))
        axes.set_ylim(low, high)
        scale.apply(axes)
        axes.set_xlabel("trainable parameters")
        if column == 0:
            axes.set_ylabel(f"PCK@{board.ranked_by} per keypoint (%)")
        else:
            axes.tick_params(labelleft=False)
        shown = [rows[index] for index in panel]
        if shown:
            size = f", {shown[0].image_size} px" if shown[0].image_size else ""
            axes.set_title(f"{shown[0].backbone}{size}", fontsize=_FONT + 0.5, loc="left")
        front = _front(rows, board.ranked_by, scale)
        axes.plot(*zip(*front, strict=True), color="0.45", linewidth=1.2, linestyle=_DASHES, zorder=1)
        _draw_points(axes, shown, board.ranked_by, scale, style)
        _label_front(axes, shown, board.ranked_by, scale)
    figure.text(
        _LEFT / _WIDTH,
        1 - 0.22 / height,
        f"{title}, {board.predictor}",
        fontsize=_FONT + 2,
        weight="bold",
        va="center",
    )
    _legend(figure, rows, style, height)
    return figure


class _Scale:
    """A logarithmic axis of trainable parameters with a place for none, set apart at its left edge."""

    def __init__(self, parameters: Sequence[int]):
        some = [count for count in parameters if count > 0] or [100_000]
        self.zero = min(some) / _DECADE_FROM_ZERO if 0 in parameters else None
        self.left = (self.zero or min(some)) / 10**0.25
        self.right = max(some) * 10**0.35
        self.fewest = min(some)

    def __call__(self, count: int | None) -> float:
        return float(count or self.zero or self.left)

    def apply(self, axes: Any) -> None:
        axes.set_xscale("log")
        axes.set_xlim(self.left, self.right)
        axes.grid(axis="y", color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        start = self.fewest / 10**0.2 if self.zero else self.left
        steps = next(steps for span, steps in _TICKS if self.right / start < span)
        exponents = range(math.floor(math.log10(start)), math.ceil(math.log10(self.right)) + 1)
        ticks = [
            step * 10**power
            for power in exponents
            for step in steps
            if start <= step * 10**power <= self.right
        ]
        names = [_short(tick) for tick in ticks]
        if self.zero:
            ticks, names = [self.zero, *ticks], ["0", *names]
            gap = math.sqrt(self.zero * start)
            axes.axvline(gap, color="0.75", linewidth=0.8, linestyle=(0, (1, 2)))
            axes.text(
                gap, 0, "//", transform=axes.get_xaxis_transform(), ha="center", va="center",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5}, fontsize=_FONT,
            )  # fmt: skip
        axes.set_xticks(ticks, names)
        axes.set_xticks([], minor=True)


def _front(rows: Sequence[Row], alpha: str, scale: _Scale) -> list[tuple[float, float]]:
    """Return the corners of the step line: the best PCK that so many trainable parameters give."""
    corners: list[tuple[float, float]] = []
    for x, y in sorted((scale(row.trainable), row.per_keypoint[alpha].mean) for row in rows if row.on_front):
        corners += [(x, corners[-1][1]), (x, y)] if corners else [(x, y)]
    return [*corners, (scale.right, corners[-1][1])] if corners else [(scale.right, 0.0)]


def _draw_points(
    axes: Any,
    rows: Sequence[Row],
    alpha: str,
    scale: _Scale,
    style: dict[str, tuple[str, str]],
) -> None:
    for row in rows:
        marker, colour = style[row.strategy]
        value = row.per_keypoint[alpha]
        axes.errorbar(
            [scale(row.trainable)], [value.mean], yerr=[value.sd] if value.sd else None,
            capsize=2.5, elinewidth=1,
            marker=marker, markersize=8, color=colour, markeredgewidth=1.4, zorder=4,
            markerfacecolor=colour if row.on_front else "white",
        )  # fmt: skip


def _label_front(axes: Any, rows: Sequence[Row], alpha: str, scale: _Scale) -> None:
    """Name the points of the front above and to the left of their markers, where no other point can be.

    A label with no room for its options is the strategy's name. Those that would meet are stacked; one that would stand
    above the axes is left out.
    """
    renderer = axes.figure.canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    taken: list[Bbox] = []
    front = [(scale(row.trainable), row.per_keypoint[alpha].mean, row) for row in rows if row.on_front]
    for x, y, row in sorted(front, key=lambda point: point[:2]):
        label = axes.annotate(
            row.label, (x, y), xytext=(-7, 3), textcoords="offset points", ha="right", va="bottom", zorder=5,
        )  # fmt: skip
        if label.get_window_extent(renderer).x0 < frame.x0:
            label.set_text(row.strategy)
        if label.get_window_extent(renderer).x0 < frame.x0:
            label.set(x=-5, y=7, ha="left")
        while any(label.get_window_extent(renderer).overlaps(other) for other in taken):
            label.set_y(label.xyann[1] + _FONT / 2)
        box = label.get_window_extent(renderer).padded(_FONT / 2, 0)
        if box.y1 > frame.y1:
            label.remove()
        else:
            taken.append(box)


def _legend(figure: Figure, rows: Sequence[Row], style: dict[str, tuple[str, str]], height: float) -> None:
    present = {row.strategy for row in rows}
    handles = [
        Line2D(
            [], [], linestyle="none", marker=style[name][0], color=style[name][1], markersize=7, label=name
        )
        for name in style
        if name in present
    ]
    handles.append(
        Line2D([], [], color="0.45", linewidth=1.2, linestyle=_DASHES, label="Pareto front (filled markers)")
    )
    columns = len(handles) if len(handles) <= 6 else math.ceil(len(handles) / 2)
    figure.legend(
        handles=handles, loc="lower center", ncols=columns, frameon=False,
        bbox_to_anchor=(0.5, 0.02 / height), fontsize=_FONT, handletextpad=0.4, columnspacing=1.4,
    )  # fmt: skip


def _styles(strategies: Sequence[str]) -> dict[str, tuple[str, str]]:
    others = sorted(set(strategies) - set(_STYLES))
    more = {
        name: (_MORE_MARKERS[index % len(_MORE_MARKERS)], _MORE_COLOURS[index % len(_MORE_COLOURS)])
        for index, name in enumerate(others)
    }
    return {**_STYLES, **more}


def _accuracy_limits(rows: Sequence[Row], alpha: str) -> tuple[float, float]:
    values = [row.per_keypoint[alpha] for row in rows]
    if not values:
        return 0.0, 100.0
    low = min(value.mean - (value.sd or 0) for value in values)
    high = max(value.mean + (value.sd or 0) for value in values)
    margin = max(0.12 * (high - low), 1.0)
    return low - margin, high + margin


def _short(number: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{unit}"
    return f"{number:g}"

"""PCK against trainable parameters as an SVG: a panel per backbone, a marker per strategy, the front."""

from __future__ import annotations

import io
import itertools
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter
from matplotlib.transforms import Bbox

from peftcorr.errors import shortened
from peftcorr.report.labels import groups_of
from peftcorr.report.leaderboard import Board, Row

# Shape tells strategies apart on paper and without colour; colour (Okabe and Ito's palette) only helps.
_FIRST = ("frozen", "last_k", "lora", "adapter", "adaptformer")
_MARKERS = "s^oDvPXp<>h*d"
_COLOURS = (
    "#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#44AA99",
)  # fmt: skip

_FONT = 9.5
_LONGEST = 120  # letters of a title
_DASHES = (0, (5, 2))
_SETTINGS: dict[str, Any] = {
    "svg.hashsalt": "peftcorr",
    "svg.fonttype": "none",
    "font.size": _FONT,
    "font.sans-serif": [
        "DejaVu Sans",
        "Verdana",
        "Arial",
    ],  # the second is as wide where the first is missing
    "text.parse_math": False,  # a dollar in a name is a dollar
    "axes.unicode_minus": False,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "legend.frameon": False,
}
_COMMENT = re.compile("<!--.*?-->")
_DECIMALS = re.compile(r"\d+\.\d{3,}(?=[^<>]*>)")  # of a tag, not of a text between two


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
    found = " ".join(text.split()).replace("> <", "><").encode() + b"\n"
    ElementTree.fromstring(found)  # a reader would show nothing of what is not well-formed
    return found


def label_of(name: str, most: int = 60) -> str:
    """A name as a figure has it: control characters, of which XML has none, written out, and not too long to be drawn.

    Matplotlib leaves what begins with an underscore out of a legend; a space before it keeps it in.
    """
    text = shortened(" ".join(name.split()), most)
    return f" {text}" if text.startswith("_") else text


def file_name(title: str) -> str:
    """Return a title as a part of a file's name: small letters and digits, joined by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _figure(title: str, board: Board, strategies: Sequence[str]) -> Figure:
    rows = [row for row in board.rows if row.trainable is not None and board.ranked_by in row.per_keypoint]
    groups = groups_of((row.backbone, row.image_size) for row in rows) or [[]]
    columns = min(2, len(groups))
    lines = math.ceil(len(groups) / columns)
    figure = Figure(figsize=(9, 1.2 + 4.6 * lines), dpi=72, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(
        label_of(f"{title}, {board.predictor}", _LONGEST),
        x=0.01,
        ha="left",
        weight="bold",
        fontsize=_FONT + 2,
    )
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(groups) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel(f"PCK@{board.ranked_by} per keypoint (%)")
    fewest = min((row.trainable for row in rows if row.trainable), default=100_000)
    most = 2 * max((row.trainable or 0 for row in rows), default=fewest) or fewest
    # Logarithmic from the power of ten below the fewest on, with a place for none.
    panels[0, 0].set_xscale("symlog", linthresh=10 ** int(math.log10(fewest)), linscale=0.5)
    panels[0, 0].set_xlim(-fewest / 5 if any(row.trainable == 0 for row in rows) else fewest / 2, most)
    panels[0, 0].margins(y=0.12)
    names = [*_FIRST, *sorted({*strategies} - {*_FIRST})]
    style = dict(zip(names, zip(itertools.cycle(_MARKERS), itertools.cycle(_COLOURS)), strict=False))
    front = sorted(
        (row.trainable or 0, row.per_keypoint[board.ranked_by].mean) for row in rows if row.on_front
    )
    for axes, group in zip(panels.flat, groups, strict=False):
        axes.set_xlabel("trainable parameters")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(axis="y")
        if group:
            row = rows[group[0]]
            axes.set_title(
                label_of(f"{row.backbone}, {row.image_size} px" if row.image_size else row.backbone)
            )
        if front:
            steps = zip(*front, (most, front[-1][1]), strict=True)
            axes.step(*steps, where="post", color="0.45", linewidth=1.2, linestyle=_DASHES, zorder=1)
        for row in (rows[index] for index in group):
            marker, colour = style[row.strategy]
            value = row.per_keypoint[board.ranked_by]
            axes.errorbar(
                row.trainable, value.mean, yerr=value.sd or None, capsize=2.5, elinewidth=1, zorder=4, color=colour,
                marker=marker, markersize=8, markeredgewidth=1.4, markerfacecolor=colour if row.on_front else "white",
            )  # fmt: skip
    _legend(figure, {name: style[name] for name in names if any(row.strategy == name for row in rows)})
    figure.draw_without_rendering()  # places the panels, which the names must know
    figure.set_layout_engine("none")
    for axes, group in zip(panels.flat, groups, strict=False):
        _label_front(axes, [rows[index] for index in group], board.ranked_by)
    return figure


def _label_front(axes: Any, rows: Sequence[Row], alpha: str) -> None:
    """Name the points of the front above and to the left of their markers, where no other point can be.

    A label with no room for its options is the strategy's name. Those that would meet are stacked; one that would stand
    above the axes is left out.
    """
    renderer = axes.figure.canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    taken: list[Bbox] = []
    front = [(row.trainable or 0, row.per_keypoint[alpha].mean, row) for row in rows if row.on_front]
    for x, y, row in sorted(front, key=lambda point: point[:2]):
        label = axes.annotate(
            label_of(row.label, _LONGEST), (x, y), xytext=(-7, 3), textcoords="offset points", ha="right",
            va="bottom", zorder=5,
        )  # fmt: skip
        if label.get_window_extent(renderer).x0 < frame.x0:
            label.set_text(label_of(row.strategy))
        if label.get_window_extent(renderer).x0 < frame.x0:
            label.set(x=-5, y=7, ha="left")
        while any(label.get_window_extent(renderer).overlaps(other) for other in taken):
            label.set_y(label.xyann[1] + _FONT / 2)
        box = label.get_window_extent(renderer).padded(_FONT / 2, 0)
        if box.y1 > frame.y1:
            label.remove()
        else:
            taken.append(box)


def _legend(figure: Figure, style: dict[str, tuple[str, str]]) -> None:
    handles = [
        Line2D([], [], linestyle="none", marker=marker, color=colour, markersize=7, label=label_of(name))
        for name, (marker, colour) in style.items()
    ]
    handles.append(Line2D([], [], color="0.45", linestyle=_DASHES, label="Pareto front (filled markers)"))
    columns = len(handles) if len(handles) <= 6 else math.ceil(len(handles) / 2)
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, handletextpad=0.4, columnspacing=1.4
    )

"""Names beside the points of a chart: none on another, on a mark or over the edge, and none far from its point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from matplotlib.transforms import Bbox

_MARK = 6.5  # half of a mark with its edge, in points
_GAP = 1.5  # between names
# Direction of the name from its point, the best first: where a front rises to the right, its upper left is free.
_SIDES = (
    (-1, 1), (-1, 0), (0, 1), (1, -1), (1, 0), (0, -1), (1, 1), (-1, -1),
)  # fmt: skip
_AWAY = (7.0, 11.0)  # points
_ALIGNED = {-1: "right", 0: "center", 1: "left"}
_LEVEL = {-1: "top", 0: "center", 1: "bottom"}


@dataclass(frozen=True)
class Named:
    """A point in the chart's own units, and what it may be called, the longest first."""

    x: float
    y: float
    names: tuple[str, ...]


def name_beside(
    axes: Any,
    named: Sequence[Named],
    marks: Sequence[tuple[float, float, float]],
    lines: Sequence[tuple[float, float]] = (),
) -> None:
    """Write names beside their points; one for which there is no room is left to the legend.

    Args:
        axes: of Matplotlib, placed in its figure.
        named: points with their names.
        marks: every mark: x, y, and how far its error bar goes up and down, in the chart's units.
        lines: corners of a line that names should leave free where they can.
    """
    renderer = axes.figure.canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    taken = [_box(axes, *mark) for mark in marks]
    drawn = axes.transData.transform(lines) if len(lines) else ()
    free = [
        Bbox([(min(a[0], b[0]) - 1, min(a[1], b[1]) - 1), (max(a[0], b[0]) + 1, max(a[1], b[1]) + 1)])
        for a, b in pairwise(drawn)
    ]
    for one in named:
        label = axes.annotate("", (one.x, one.y), xytext=(0, 0), textcoords="offset points", zorder=5)
        box = _place(label, one.names, frame, (taken + free, taken), renderer)
        if box is None:
            label.remove()
        else:
            taken.append(box.padded(_GAP))


def _place(
    label: Any, names: Sequence[str], frame: Bbox, obstacles: Sequence[Sequence[Bbox]], renderer: Any
) -> Bbox | None:
    """Move a label to the first place that is free, by the first of the lists of obstacles that leaves one."""
    for name in names:
        label.set_text(name)
        for blocked in obstacles:
            for away in _AWAY:
                for dx, dy in _SIDES:
                    label.set_position((dx * away, dy * away if dx == 0 else dy * away / 2))
                    label.set(ha=_ALIGNED[dx], va=_LEVEL[dy])
                    box: Bbox = label.get_window_extent(renderer)
                    inside = (
                        box.x0 >= frame.x0
                        and box.x1 <= frame.x1
                        and box.y0 >= frame.y0
                        and box.y1 <= frame.y1
                    )
                    if inside and not any(box.overlaps(other) for other in blocked):
                        return box
    return None


def _box(axes: Any, x: float, y: float, spread: float) -> Bbox:
    left, low = axes.transData.transform((x, y - spread))
    _, high = axes.transData.transform((x, y + spread))
    return Bbox([(left - _MARK, low - _MARK), (left + _MARK, high + _MARK)])

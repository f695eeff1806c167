"""Put a label beside each point of a plot so that none covers another label, a point or the plot's edge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from matplotlib.transforms import Bbox

# Points (1/72 inch) from the marker, nearest first; beyond `_NEAR` the label needs a line back to its marker.
_DISTANCES = (8.0, 13.0, 22.0, 34.0, 48.0, 64.0, 82.0)
_NEAR = 13.0
_DIRECTIONS = ((1, 0), (0, 1), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
# How many points farther off a label goes rather than cover the line, or stand nearer to another marker.
_COVERS_LINE, _AMBIGUOUS = 12.0, 30.0
_MARKER = 6.0  # half the side of what a marker covers, points
_MARGIN = 1.5


class _Place(NamedTuple):
    """A place beside a marker: offset in points and the side of the text that lies there."""

    distance: float
    x: float
    y: float
    horizontal: str
    vertical: str


_PLACES = tuple(
    _Place(
        distance,
        dx * distance * (0.75 if dx and dy else 1.0),
        dy * distance * (0.75 if dx and dy else 1.0),
        ("right", "center", "left")[dx + 1],
        ("top", "center", "bottom")[dy + 1],
    )
    for distance in _DISTANCES
    for dx, dy in _DIRECTIONS
)


def label_points(
    axes: Any,
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    size: float,
    lines: Sequence[Sequence[tuple[float, float]]] = (),
) -> None:
    """Write ``texts[i]`` beside ``points[i]``; a label that fits nowhere is left out.

    Args:
        axes: Matplotlib axes whose limits and place in the figure are final.
        points: x, y in data coordinates.
        texts: as many labels, the most important first.
        size: font size in points.
        lines: corners of lines of horizontal and vertical pieces that labels had better not cover.
    """
    if not points:
        return
    renderer = axes.figure.canvas.get_renderer()
    scale = axes.figure.dpi / 72
    frame = axes.get_window_extent(renderer)
    centres = axes.transData.transform(list(points))
    pieces = [Bbox(axes.transData.transform(ends)) for line in lines for ends in pairwise(line)]
    taken = [_square(x, y, _MARKER * scale) for x, y in centres]
    for own, ((x, y), text) in enumerate(zip(points, texts, strict=True)):
        label = axes.annotate(
            text,
            (x, y),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=size,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
            zorder=5,
        )
        best: tuple[float, _Place, Bbox] | None = None
        for place in _PLACES:
            _move(label, place)
            box = label.get_window_extent(renderer).padded(_MARGIN * scale)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if not inside or any(box.overlaps(other) for other in taken):
                continue
            away = [_distance(box, centre) for centre in centres]
            penalty = place.distance
            penalty += _COVERS_LINE * any(box.overlaps(piece) for piece in pieces)
            penalty += _AMBIGUOUS * (min(away) < away[own])
            if best is None or penalty < best[0]:
                best = (penalty, place, box)
        if best is None:
            label.remove()
            continue
        _move(label, best[1])
        taken.append(best[2])
        if best[1].distance > _NEAR:
            _lead(axes, (x, y), (best[1].x, best[1].y))


def _move(label: Any, place: _Place) -> None:
    label.set_position((place.x, place.y))
    label.set_horizontalalignment(place.horizontal)
    label.set_verticalalignment(place.vertical)


def _distance(box: Bbox, point: Sequence[float]) -> float:
    aside = max(box.x0 - point[0], 0.0, point[0] - box.x1)
    above = max(box.y0 - point[1], 0.0, point[1] - box.y1)
    return math.hypot(aside, above)


def _lead(axes: Any, point: tuple[float, float], offset: tuple[float, float]) -> None:
    axes.annotate(
        "",
        point,
        xytext=offset,
        textcoords="offset points",
        arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.7, "shrinkA": 0, "shrinkB": 5},
        zorder=2,
    )


def _square(x: float, y: float, half: float) -> Bbox:
    return Bbox.from_extents(x - half, y - half, x + half, y + half)

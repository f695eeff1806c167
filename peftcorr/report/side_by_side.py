"""Two pictures side by side, with lines from points of the first to where they were found in the second."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from peftcorr.metrics.outcomes import Outcome

Pixels = NDArray[np.uint8]  # (H, W, 3)
Point = tuple[float, float]  # x, y in pixels of its picture, pixel centres on integers
Kind = Literal["found"] | Outcome

SIDE = 480  # longer side of each picture as it is drawn, in pixels
GAP = 12  # between the two

# Told apart by shape and dashes as well as by colour (Okabe and Ito's palette): print has none, and some eyes neither.
COLOURS: dict[Kind, str] = {
    "found": "#0072b2",
    "right": "#009e73",
    "wrong": "#d55e00",
    "mirrored": "#cc79a7",
    "hidden": "#8c8c8c",
}
NAMES: dict[Kind, str] = {
    "found": "match",
    "right": "right",
    "wrong": "wrong",
    "mirrored": "left taken for right",
    "hidden": "hidden in the target",
}
_DASHES: dict[Kind, tuple[float, ...]] = {
    "found": (),
    "right": (),
    "wrong": (9, 5),
    "mirrored": (12, 4, 2, 4),
    "hidden": (2, 4),
}
_SIZE = 6.0  # half of a marker, in pixels
FINER = 2  # drawn so much larger and then made smaller: PIL's lines have no soft edges
_PAPER, _INK = "#ffffff", "#1f2328"
_LEGEND = 24  # height of the line below


@dataclass(frozen=True)
class Mark:
    """One point of the first picture and where it was found in the second.

    Attributes:
        source: the point.
        prediction: where it was found.
        kind: what became of it; ``found`` where nobody knows the truth.
        truth: where it is; None where that is not known.
        reach: half width and half height of the region round the truth that is right, in pixels of the second picture.
    """

    source: Point
    prediction: Point
    kind: Kind = "found"
    truth: Point | None = None
    reach: Point | None = None


@dataclass(frozen=True)
class Panel:
    """Where one picture lies in a drawing: `left` and `top` of its corner, and its scale along both axes."""

    left: int
    top: int
    width: int
    height: int
    scale: Point

    @classmethod
    def of(cls, picture: Pixels, side: int, left: int = 0, top: int = 0) -> Panel:
        """The place of a picture whose longer side is drawn with `side` pixels."""
        height, width = picture.shape[:2]
        factor = side / max(height, width)
        extent = max(1, round(width * factor)), max(1, round(height * factor))
        return cls(left, top, *extent, (extent[0] / width, extent[1] / height))

    def place(self, point: Point) -> Point:
        """A point of the picture in pixels of the drawing."""
        x, y = ((value + 0.5) * scale - 0.5 for value, scale in zip(point, self.scale, strict=True))
        return x + self.left, y + self.top

    def drawn(self, picture: Pixels) -> Image.Image:
        """The picture at its size in the drawing."""
        return Image.fromarray(picture).resize((self.width, self.height), Image.Resampling.BICUBIC)


def side_by_side(
    source: Pixels, target: Pixels, marks: Sequence[Mark], legend: str = "", side: int = SIDE
) -> Image.Image:
    """Draw two pictures and the matches between them.

    Each match is a line from a dot in the first picture to a marker in the second; where the truth is known, a cross is
    on it and a ring round it holds what counts as right.

    Args:
        source, target: (H, W, 3) uint8.
        marks: what is drawn; the first lies on top.
        legend: a line for below the pictures, after what the markers mean.
        side: longer side of each picture, in pixels.

    Returns:
        RGB image, as wide as both pictures and a gap.
    """
    left, right = panels(source, target, side)
    size = (right.left + right.width, max(left.height, right.height) + _LEGEND)
    canvas = Image.new("RGB", size, _PAPER)
    for panel, picture in ((left, source), (right, target)):
        canvas.paste(panel.drawn(picture), (panel.left, panel.top))
    fine = canvas.resize((size[0] * FINER, size[1] * FINER), Image.Resampling.NEAREST)
    # A ring may be larger than its picture, and must not run over the other one.
    corner = FINER * right.left, FINER * right.top
    box = (*corner, corner[0] + FINER * right.width, corner[1] + FINER * right.height)
    ringed = fine.copy()
    pen = Pen(ImageDraw.Draw(ringed))
    for mark in reversed(marks):
        pen.ring(right, mark)
    fine.paste(ringed.crop(box), corner)
    pen = Pen(ImageDraw.Draw(fine))
    for mark in reversed(marks):
        pen.line(left.place(mark.source), right.place(mark.prediction), mark.kind)
    for mark in reversed(marks):
        pen.dot(left.place(mark.source), mark.kind)
        pen.marker(right.place(mark.prediction), mark.kind)
    _write_legend(pen, size[1] - _LEGEND / 2, marks)
    drawn = fine.reduce(FINER)
    _write_text(drawn, marks, legend)
    return drawn


def stacked(drawings: Sequence[Image.Image]) -> Image.Image:
    """Drawings below one another, on white."""
    size = max(one.width for one in drawings), sum(one.height + GAP for one in drawings) - GAP
    canvas, top = Image.new("RGB", size, _PAPER), 0
    for one in drawings:
        canvas.paste(one, (0, top))
        top += one.height + GAP
    return canvas


def panels(source: Pixels, target: Pixels, side: int = SIDE) -> tuple[Panel, Panel]:
    """Where `side_by_side` puts the two pictures."""
    left = Panel.of(source, side)
    return left, Panel.of(target, side, left.width + GAP)


class Pen:
    """Draws on a picture that is `FINER` times as large as the drawing; all places and lengths are the drawing's."""

    def __init__(self, draw: ImageDraw.ImageDraw):
        self._draw = draw

    def line(self, start: Point, end: Point, kind: Kind, width: float = 2.0) -> None:
        """A line with the dashes of its kind, on a dark edge that shows on any photograph."""
        for grown, colour in ((1.5, _INK), (0.0, COLOURS[kind])):
            for a, b in _dashed(start, end, _DASHES[kind]):
                self._draw.line([_fine(a), _fine(b)], fill=colour, width=round((width + grown) * FINER))

    def ring(self, panel: Panel, mark: Mark) -> None:
        """The region that is right, a cross on the truth, and a thin line from there to a prediction that is not."""
        if mark.truth is None:
            return
        colour, (x, y) = COLOURS[mark.kind], panel.place(mark.truth)
        if mark.reach is not None:
            rx, ry = (length * scale for length, scale in zip(mark.reach, panel.scale, strict=True))
            for grown, edge in ((1.0, _PAPER), (0.0, colour)):
                width = 2.0 + 2 * grown
                # PIL draws inwards from the box: half of the line lies beyond the radius.
                box = _box(x, y, rx + width / 2, ry + width / 2)
                self._draw.ellipse(box, outline=edge, width=round(width * FINER))
        if mark.kind in ("wrong", "mirrored"):
            ends = [_fine((x, y)), _fine(panel.place(mark.prediction))]
            self._draw.line(ends, fill=_PAPER, width=FINER)
        arm = 4 if mark.reach is None or min(rx, ry) > 8 else 2  # in a small ring it would be all there is
        for width, edge in ((arm, _PAPER), (arm // 2, colour)):
            for dx, dy in ((arm, 0), (0, arm)):
                ends = [_fine((x - dx, y - dy)), _fine((x + dx, y + dy))]
                self._draw.line(ends, fill=edge, width=width * FINER)

    def dot(self, place: Point, kind: Kind) -> None:
        """Where a line starts."""
        for radius, colour in ((4.5, _INK), (3.5, _PAPER), (2.5, COLOURS[kind])):
            self._draw.ellipse(_box(*place, radius, radius), fill=colour)

    def marker(self, place: Point, kind: Kind) -> None:
        """A disc, a cross, a triangle or a square on a white edge; its colour is at its centre, whatever its shape."""
        for grown, colour in ((1.5, _PAPER), (0.0, COLOURS[kind])):
            _SHAPES[kind](self._draw, *place, _SIZE + grown, colour)


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, colour: str) -> None:
    draw.ellipse(_box(x, y, size - 0.5, size - 0.5), fill=colour)


def _square(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, colour: str) -> None:
    draw.rectangle(_box(x, y, size - 1, size - 1), fill=colour)


def _diamond(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, colour: str) -> None:
    corners = ((0, -size), (size, 0), (0, size), (-size, 0))
    draw.polygon([_fine((x + dx, y + dy)) for dx, dy in corners], fill=colour)


def _triangle(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, colour: str) -> None:
    corners = ((0, -1.3 * size), (1.15 * size, 0.8 * size), (-1.15 * size, 0.8 * size))
    draw.polygon([_fine((x + dx, y + dy)) for dx, dy in corners], fill=colour)


def _cross(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, colour: str) -> None:
    width = round((4 if size == _SIZE else 7) * FINER)
    for slope in (-1, 1):
        ends = [_fine((x - size, y - slope * size)), _fine((x + size, y + slope * size))]
        draw.line(ends, fill=colour, width=width)


_SHAPES: dict[Kind, Callable[[ImageDraw.ImageDraw, float, float, float, str], None]] = {
    "found": _diamond,
    "right": _disc,
    "wrong": _cross,
    "mirrored": _triangle,
    "hidden": _square,
}


def _fine(point: Point) -> Point:
    """A place of the drawing in the larger one: pixel centres are on integers in both."""
    x, y = ((value + 0.5) * FINER - 0.5 for value in point)
    return x, y


def _box(x: float, y: float, width: float, height: float) -> list[Point]:
    return [_fine((x - width, y - height)), _fine((x + width, y + height))]


def _dashed(start: Point, end: Point, dashes: Sequence[float]) -> list[tuple[Point, Point]]:
    """The parts of a line that are drawn: `dashes` are lengths drawn and left out in turn."""
    (x, y), length = start, math.dist(start, end)
    if not dashes or length == 0:
        return [(start, end)]
    dx, dy = (end[0] - x) / length, (end[1] - y) / length
    parts, at, number = [], 0.0, 0
    while at < length:
        until = min(length, at + dashes[number % len(dashes)])
        if number % 2 == 0:
            parts.append(((x + at * dx, y + at * dy), (x + until * dx, y + until * dy)))
        at, number = until, number + 1
    return parts


def _entries(marks: Sequence[Mark]) -> list[tuple[float, Kind, str]]:
    """Where each entry of the legend begins, its marker and its text."""
    kinds = [mark.kind for mark in marks]
    font, at = ImageFont.load_default(12), 10.0
    found: list[tuple[float, Kind, str]] = []
    for kind in COLOURS:
        if number := kinds.count(kind):
            text = f"{number} {NAMES[kind]}"
            found.append((at, kind, text))
            at += font.getlength(text) + 36
    return found


def _write_legend(pen: Pen, middle: float, marks: Sequence[Mark]) -> None:
    for x, kind, _ in _entries(marks):
        pen.marker((x, middle), kind)


def _write_text(drawn: Image.Image, marks: Sequence[Mark], legend: str) -> None:
    """The words of the legend, at the drawing's own size, where letters are sharp."""
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(12)
    top = drawn.height - _LEGEND + 4
    end = 0.0
    for x, _, text in _entries(marks):
        pen.text((x + 11, top), text, _INK, font)
        end = x + 11 + font.getlength(text)
    plain = legend.encode("ascii", "replace").decode()
    if plain and end + 20 + font.getlength(plain) < drawn.width:
        pen.text((drawn.width - 6 - font.getlength(plain), top), plain, _INK, font)

"""What a drawing shows, read from its pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageColor

from peftcorr.report.side_by_side import COLOURS, GAP, SIDE, Kind, Mark, side_by_side, stacked

SOURCE = np.full((150, 300, 3), 70, dtype=np.uint8)  # drawn 480 x 240: a pixel is 1.6
TARGET = np.full((240, 160, 3), 120, dtype=np.uint8)  # drawn 320 x 480: a pixel is 2
KINDS: tuple[Kind, ...] = ("right", "wrong", "mirrored", "hidden", "found")


def source_place(x: float, y: float) -> tuple[float, float]:
    return (x + 0.5) * 1.6 - 0.5, (y + 0.5) * 1.6 - 0.5


def target_place(x: float, y: float) -> tuple[float, float]:
    return (x + 0.5) * 2 - 0.5 + SIDE + GAP, (y + 0.5) * 2 - 0.5


def at(picture: Image.Image, place: tuple[float, float]) -> tuple[int, ...]:
    found = picture.getpixel((round(place[0]), round(place[1])))
    assert isinstance(found, tuple)
    return found


def colour(kind: Kind) -> tuple[int, ...]:
    return ImageColor.getrgb(COLOURS[kind])


@pytest.fixture(scope="module")
def marks() -> list[Mark]:
    """One of each kind, 40 pixels apart; truths to the right of their predictions."""
    found = []
    for number, kind in enumerate(KINDS):
        y = 25.0 + 40 * number
        truth = None if kind in ("hidden", "found") else (100.0, y)
        found.append(Mark((20.0, 20.0 + 25 * number), (30.0, y), kind, truth, (15.0, 15.0)))
    return found


@pytest.fixture(scope="module")
def drawn(marks: list[Mark]) -> Image.Image:
    return side_by_side(SOURCE, TARGET, marks)


def test_each_marker_has_its_colour_where_the_prediction_is(drawn: Image.Image, marks: list[Mark]) -> None:
    for mark in marks:
        assert at(drawn, target_place(*mark.prediction)) == colour(mark.kind)
        assert at(drawn, source_place(*mark.source)) == colour(mark.kind)
    assert len({colour(kind) for kind in KINDS}) == len(KINDS)


def test_the_shapes_differ_without_colour(drawn: Image.Image, marks: list[Mark]) -> None:
    shapes = set()
    for mark in marks:
        x, y = map(round, target_place(*mark.prediction))
        patch = np.asarray(drawn.crop((x - 8, y - 8, x + 9, y + 9)), dtype=int)
        shapes.add((np.abs(patch - colour(mark.kind)).sum(2) < 60).tobytes())
    assert len(shapes) == len(KINDS)


def test_the_ring_has_the_radius_of_what_is_right(drawn: Image.Image, marks: list[Mark]) -> None:
    for mark in marks:
        if mark.truth is None:
            continue
        x, y = target_place(*mark.truth)
        # Beside the line from the prediction, which comes from the left.
        for angle in (-90, -60, -30, 30, 60, 90):
            step = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            along = [at(drawn, (x + r * step[0], y + r * step[1])) for r in range(20, 40)]
            radii = [20 + n for n, found in enumerate(along) if found == colour(mark.kind)]
            assert radii, (mark.kind, angle)
            assert set(radii) <= {29, 30, 31}  # 15 pixels of the target, drawn twice as large
        assert at(drawn, (x, y)) == colour(mark.kind)


def test_an_ellipse_where_the_frame_is_stretched() -> None:
    mark = Mark((10.0, 10.0), (20.0, 20.0), "right", (80.0, 120.0), (30.0, 10.0))
    drawn = side_by_side(SOURCE, TARGET, [mark])
    x, y = target_place(80.0, 120.0)
    assert at(drawn, (x + 60, y)) == at(drawn, (x, y - 20)) == colour("right")
    assert at(drawn, (x + 20, y)) == at(drawn, (x, y - 60)) == (120, 120, 120)


def test_a_ring_stays_on_its_own_picture() -> None:
    mark = Mark((150.0, 140.0), (2.0, 235.0), "right", (2.0, 120.0), (60.0, 60.0))
    drawn = np.asarray(side_by_side(SOURCE, TARGET, [mark]))
    # The ring's left half would lie on the gap and on the source's right edge.
    assert (drawn[60:230, SIDE - 40 : SIDE] == 70).all()
    assert (drawn[:400, SIDE + 1 : SIDE + GAP - 1] == 255).all()


def test_lines_join_the_two_and_are_dashed_by_kind(drawn: Image.Image, marks: list[Mark]) -> None:
    gaps = {}
    for mark in marks:
        (x, y), (u, v) = source_place(*mark.source), target_place(*mark.prediction)
        on = [
            at(drawn, (x + share * (u - x), y + share * (v - y))) == colour(mark.kind)
            for share in np.linspace(0.1, 0.9, 200)
        ]
        gaps[mark.kind] = 1 - np.mean(on)
    assert gaps["right"] < 0.2
    assert gaps["right"] < gaps["wrong"] < gaps["hidden"]
    assert gaps["mirrored"] > 0.2


def test_photographs_keep_their_shape_and_place() -> None:
    ramp = np.zeros((100, 200, 3), dtype=np.uint8)
    ramp[..., 0] = np.linspace(0, 255, 200).round()[None]
    drawn = side_by_side(ramp, TARGET, [])
    assert drawn.size[0] == 480 + GAP + 320
    row = np.asarray(drawn)[120, :480, 0].astype(int)
    assert np.abs(row - np.linspace(0, 255, 480)).max() <= 3


def test_a_picture_of_one_pixel_can_be_drawn() -> None:
    tiny = np.zeros((1, 1, 3), dtype=np.uint8)
    long = np.zeros((1, 3000, 3), dtype=np.uint8)
    assert side_by_side(tiny, long, [Mark((0, 0), (1500, 0), "wrong", (0, 0), (2.0, 2.0))]).size[0] == 972


def test_drawings_are_stacked() -> None:
    both = stacked([Image.new("RGB", (30, 10), "red"), Image.new("RGB", (20, 10), "blue")])
    assert both.size == (30, 20 + GAP)
    assert both.getpixel((5, 5)) == (255, 0, 0)
    assert both.getpixel((5, 15 + GAP)) == (0, 0, 255)
    assert both.getpixel((25, 15 + GAP)) == (255, 255, 255)

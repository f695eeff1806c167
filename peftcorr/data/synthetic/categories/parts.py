"""What several categories share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from peftcorr.data.synthetic.builder import Builder, Category
from peftcorr.data.synthetic.solids import Array

SIDES = (("left", 1.0), ("right", -1.0))


def vec(x: float, y: float, z: float) -> Array:
    """A point or direction: forward, left, up."""
    return np.array([x, y, z])


def eyes(b: Builder, centre: Array, frame: Array, offset: tuple[float, float, float], radius: float) -> None:
    """Two dark eyes at ``offset`` (forward, to the side, up) of a head, with their landmarks."""
    for side, sign in SIDES:
        eye = centre + frame @ (np.asarray(offset) * (1.0, sign, 1.0))
        b.ball(eye, radius, "eye")
        b.mark(f"{side}_eye", eye + frame @ vec(0.3 * radius, 0.9 * sign * radius, 0.2 * radius))


def category(
    landmarks: str, elevation: tuple[float, float] = (-5.0, 40.0), grounded: bool = True
) -> Callable[[Callable[[Builder], None]], Category]:
    """Make a function that puts an object together the category of its name; for the rest see `Category`.

    A landmark with a ``*`` is there twice, with ``left`` and then ``right`` in its place.
    """
    names = tuple(
        name.replace("*", side) for name in landmarks.split() for side, _ in SIDES[: 1 + ("*" in name)]
    )
    return lambda build: Category(build.__name__, names, build, elevation, grounded)

"""What several categories share."""

from __future__ import annotations

import numpy as np

from peftcorr.data.synthetic.builder import Builder
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


def both(*names: str) -> tuple[str, ...]:
    """Each name with a ``*`` twice, with left and then right in its place; other names once."""
    sided = ([name.replace("*", side) for side, _ in SIDES] if "*" in name else [name] for name in names)
    return tuple(name for group in sided for name in group)

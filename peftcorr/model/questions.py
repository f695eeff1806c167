"""What is asked of a model: pictures and points in the arrays that the evaluation works on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from peftcorr.data.correspondences import Correspondences
from peftcorr.data.given import Picture
from peftcorr.errors import PeftCorrError, shown

Floats = NDArray[np.float64]


def checked_points(given: ArrayLike, image: Picture, name: str) -> Floats:
    """Points (N, 2) as float64, each of them on the image: -0.5 to W - 0.5, and H - 0.5.

    Args:
        given: x, y in pixels of the image, pixel centres on integers.
        image: that they are on.
        name: what messages call them.

    Raises:
        PeftCorrError: if they are no numbers, of another shape, or one is outside.
    """
    try:
        points = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise PeftCorrError(
            f"{name} is {shown(given)}: give numbers, (N, 2), x and y of each point."
        ) from None
    if points.ndim != 2 or points.shape[1] != 2:
        raise PeftCorrError(f"{name} has the shape {points.shape}: give (N, 2), x and y of each point.")
    width, height = image.size
    inside = ((points >= -0.5) & (points <= np.array([width, height]) - 0.5)).all(1)
    if not inside.all():
        number = int(np.flatnonzero(~inside)[0])
        x, y = points[number]
        raise PeftCorrError(
            f"{name}[{number}] is ({x:g}, {y:g}), outside of its image, which is {width} x {height} pixels."
        )
    return points


def paired(first: Picture, others: Sequence[Picture], points: Floats, category: str) -> Correspondences:
    """Look for the points (N, 2) of one picture in each of M others: M pairs, N correspondences each, in that order."""
    keys = list(dict.fromkeys([first.key, *(other.key for other in others)]))
    pairs, count = len(others), len(points)
    return _arrays(
        keys,
        [category] * len(keys),
        source=np.zeros(pairs, dtype=np.int64),
        target=np.array([keys.index(other.key) for other in others], dtype=np.int64),
        pair=np.repeat(np.arange(pairs, dtype=np.int32), count),
        points=np.tile(points, (pairs, 1)),
    )


def apart(pictures: Sequence[Picture], categories: Sequence[str]) -> Correspondences:
    """Pictures that nothing is looked for in."""
    none = np.empty(0, dtype=np.int64)
    keys = [one.key for one in pictures]
    return _arrays(keys, list(categories), none, none, none.astype(np.int32), np.empty((0, 2)))


def _arrays(
    keys: list[str],
    categories: list[str],
    source: NDArray[np.int64],
    target: NDArray[np.int64],
    pair: NDArray[np.int32],
    points: Floats,
) -> Correspondences:
    return Correspondences(
        images=keys,
        categories=categories,
        sizes=[[] for _ in keys],
        source=source,
        target=target,
        reference_length=np.full(len(source), np.nan),
        pair=pair,
        source_points=points,
        target_points=np.full_like(points, np.nan),  # what is asked for
        keypoint=np.zeros(len(pair), dtype=np.int32),
        keypoint_names=[""],
        pair_ids=pa.array([str(number) for number in range(len(source))], pa.string()),
    )

"""Which rectangle a reference length is the longer side of: what a frame that stretches images must know."""

from __future__ import annotations

import datasets
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from peftcorr.data.correspondences import Correspondences, Floats

_TOLERANCE = 1e-9  # relative: a box kept as x, y, width, height comes back from its corners with rounding


def reference_sides(table: datasets.Dataset, data: Correspondences, sizes: NDArray[np.int32]) -> Floats:
    """Width and height of the rectangle that belongs to each pair's reference length, pixels of the original.

    It is the target's annotated box, the target image or the box round the target's keypoints: the first of them
    whose longer side the length is.

    Args:
        table: P pairs with the columns of `PAIR_FEATURES`.
        data: the same pairs.
        sizes: W, H of each image of `data`, (I, 2).

    Returns:
        (P, 2), NaN for a length that is no such side.
    """
    length = data.reference_length
    sides = np.full((len(length), 2), np.nan)
    for rectangles in (_keypoint_boxes(data), sizes[data.target].astype(np.float64), _boxes(table)):
        fits = np.isclose(rectangles.max(axis=1), length, rtol=_TOLERANCE, atol=0)
        sides[fits] = rectangles[fits]  # the last to fit stays: the annotated box wins
    return sides


def _boxes(table: datasets.Dataset) -> Floats:
    """Width and height of the annotated boxes (P, 2), NaN where there is none."""
    column = table.select_columns(["target_box"]).with_format("arrow")[:].column(0)
    given = pc.equal(pc.fill_null(pc.list_value_length(column), 0), 4)
    corners = pc.list_flatten(column.filter(given)).to_numpy().reshape(-1, 4)
    boxes = np.full((len(column), 2), np.nan)
    boxes[given.to_numpy()] = corners[:, 2:] - corners[:, :2]
    return boxes


def _keypoint_boxes(data: Correspondences) -> Floats:
    low, high = (np.full((len(data.reference_length), 2), end) for end in (np.inf, -np.inf))
    np.minimum.at(low, data.pair, data.target_points)
    np.maximum.at(high, data.pair, data.target_points)
    sides: Floats = high - low
    return sides

"""Which rectangle a reference length is the longer side of: what a frame that stretches images must know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from peftcorr.data.correspondences import Correspondences, Floats
from peftcorr.errors import PeftCorrError

_TOLERANCE = 1e-9  # relative: a box kept as x, y, width, height comes back from its corners with rounding


def reference_sides(data: Correspondences, sizes: NDArray[np.int32]) -> Floats:
    """Width and height of the rectangle that belongs to each pair's reference length, pixels of the original.

    It is the target's annotated box, the target image or the box round the target's keypoints: the first of them
    whose longer side the length is.

    Args:
        data: P pairs.
        sizes: W, H of each image of `data`, (I, 2).

    Returns:
        (P, 2), NaN for a length that is no such side.
    """
    length = data.reference_length
    sides = np.full((len(length), 2), np.nan)
    for rectangles in _rectangles(data, sizes):
        fits = np.isclose(rectangles.max(axis=1), length, rtol=_TOLERANCE, atol=0)
        sides[fits] = rectangles[fits]  # the last to fit stays: the annotated box wins
    return sides


def reversed_pairs(data: Correspondences, sizes: NDArray[np.int32]) -> Correspondences:
    """The pairs from target to source, with the reference length of the source by the dataset's own rule.

    Args:
        data: P pairs from source to target.
        sizes: W, H of each image of `data`, (I, 2).

    Raises:
        PeftCorrError: if a length is no side of the target's box, image or keypoints' box, the source has no such box,
            or targets hide keypoints, whose place is not known then.
    """
    if data.occluded is not None:
        raise PeftCorrError("Pairs whose target hides keypoints cannot be matched from target to source.")
    turned = replace(
        data,
        source=data.target,
        target=data.source,
        source_points=data.target_points,
        target_points=data.source_points,
        source_box=data.target_box,
        target_box=data.source_box,
    )
    length = np.full(len(data.reference_length), np.nan)
    for there, here in zip(_rectangles(data, sizes), _rectangles(turned, sizes), strict=True):
        fits = np.isclose(there.max(axis=1), data.reference_length, rtol=_TOLERANCE, atol=0)
        length[fits] = here[fits].max(axis=1)
    if not (length > 0).all():
        raise PeftCorrError(
            f"Pair {data.pair_ids[int(np.flatnonzero(~(length > 0))[0])]} cannot be scored from target to source: its "
            "source has no reference length of the target's kind."
        )
    return replace(turned, reference_length=length)


def _rectangles(data: Correspondences, sizes: NDArray[np.int32]) -> tuple[Floats, Floats, Floats]:
    """Width and height (P, 2) of the box round the target's keypoints, the target, and its annotated box."""
    box = np.full((len(data.target), 4), np.nan) if data.target_box is None else data.target_box
    return _keypoint_boxes(data), sizes[data.target].astype(np.float64), box[:, 2:] - box[:, :2]


def _keypoint_boxes(data: Correspondences) -> Floats:
    low, high = (np.full((len(data.reference_length), 2), end) for end in (np.inf, -np.inf))
    np.minimum.at(low, data.pair, data.target_points)
    np.maximum.at(high, data.pair, data.target_points)
    sides: Floats = high - low
    return sides

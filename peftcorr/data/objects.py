"""Which annotated objects a split has: of one photograph, several may be there, each with keypoints of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peftcorr.data.correspondences import Correspondences, Floats, Ints


@dataclass(frozen=True)
class Objects:
    """O objects of a split, and where each shows its keypoints: M places, sorted by object and then by keypoint.

    Attributes:
        image: number of each object's image, (O,); sorted.
        source, target: object of each pair, (P,).
        object: of each place, (M,).
        keypoint: which of `Correspondences.keypoint_names` each place is, (M,).
        points: x, y in original pixels, (M, 2).
    """

    image: Ints
    source: Ints
    target: Ints
    object: Ints
    keypoint: Ints
    points: Floats


def objects(data: Correspondences) -> Objects:
    """Tell the objects of a split apart, in memory and time that grow with its correspondences alone.

    An image is one object as long as no keypoint of it lies at two places. Where one does, each of its boxes is an
    object; and where even that leaves a keypoint at two places, each pair stands for itself.
    """
    image = np.concatenate((data.source, data.target))  # of each side of a pair
    side = np.concatenate((data.pair, data.pair.astype(np.int64) + len(data.source)))  # of each place
    keypoint = np.tile(data.keypoint, 2).astype(np.int64)
    points = np.concatenate((data.source_points, data.target_points))
    label = np.zeros(len(image), dtype=np.int64)
    for finer in (_boxes(data), np.arange(len(image))):
        number = _numbered(image, label)
        torn = _torn(number[side], keypoint, points)
        label = np.where(np.isin(number, torn), finer, label)
    number = _numbered(image, label)
    first = np.unique(number, return_index=True)[1]
    order = np.lexsort((keypoint, number[side]))
    last = np.append(_differs(number[side][order], keypoint[order]), True)
    kept = order[last] if len(order) else order
    source, target = np.split(number, 2)
    return Objects(image[first], source, target, number[side][kept], keypoint[kept], points[kept])


def _boxes(data: Correspondences) -> Ints:
    """A number for each box of each side of a pair, (2 P,); the same for those without one."""
    if data.source_box is None or data.target_box is None:
        return np.zeros(2 * len(data.source), dtype=np.int64)
    boxes = np.concatenate((data.source_box, data.target_box))
    return np.unique(boxes, axis=0, return_inverse=True)[1].reshape(-1)


def _numbered(image: Ints, label: Ints) -> Ints:
    """Number of each distinct (image, label), sorted."""
    order = np.lexsort((label, image))
    number = np.empty(len(image), dtype=np.int64)
    number[order] = np.cumsum(np.append(False, _differs(image[order], label[order]))[: len(order)])
    return number


def _torn(number: Ints, keypoint: Ints, points: Floats) -> Ints:
    """Objects that have a keypoint at two places."""
    order = np.lexsort((keypoint, number))
    same = ~_differs(number[order], keypoint[order])
    apart = (np.diff(points[order], axis=0) != 0).any(axis=1)
    return np.unique(number[order][1:][same & apart])


def _differs(one: Ints, other: Ints) -> NDArray[np.bool_]:
    """Where either of two sorted columns changes from one row to the next."""
    changes: NDArray[np.bool_] = (np.diff(one) != 0) | (np.diff(other) != 0)
    return changes

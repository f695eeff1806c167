"""Left taken for right: how often a prediction is nearer to the mirrored keypoint than to its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from peftcorr.metrics.rows import Floats, Integers, coded, points
from peftcorr.metrics.symmetry import mirrors

Flags = NDArray[np.bool_]


def confusions(dataset: str, rows: pa.Table) -> tuple[Flags, Flags]:
    """Find the keypoints that are confused with their mirror image.

    A keypoint counts when its mirror image (`peftcorr.metrics.symmetry`) is annotated in the target: in the same pair,
    or in any pair of the split that has this image on either side, as long as all of them agree where. It is confused
    when the prediction lies strictly nearer to the mirror image than to its own truth, however far from both it is.

    Args:
        dataset: name of the dataset, which says what the keypoints are.
        rows: predictions of one predictor on one split, N keypoints.

    Returns:
        Which keypoints count, (N,), and which of these are confused, (N,).
    """
    place, known = _mirror_places(dataset, rows)
    prediction, truth = points(rows, "prediction"), points(rows, "truth")
    own = np.hypot(*(prediction - truth).T)
    with np.errstate(invalid="ignore"):
        other = np.hypot(*(prediction - place).T)
    return known, known & (other < own)


def _mirror_places(dataset: str, rows: pa.Table) -> tuple[Floats, Flags]:
    """Where the mirror image of each keypoint is in the target (N, 2), and whether that is known (N,)."""
    categories, category = coded(rows, "category")
    names, keypoint = coded(rows, "keypoint_id")
    partner = _partners(dataset, categories, category, names, keypoint)
    mirror = partner[category, keypoint]
    pair = rows.column("pair").to_numpy().astype(np.int64)
    truth = points(rows, "truth")

    place, known = _look_up(pair * len(names) + keypoint, truth, pair * len(names) + mirror)
    paths, path = coded(rows, "source_image", "target_image")
    source, target = np.split(path, 2)
    base = category * len(paths)
    places, agreed = _look_up(
        np.concatenate([(base + image) * len(names) + keypoint for image in (source, target)]),
        np.concatenate([points(rows, "source"), truth]),
        (base + target) * len(names) + mirror,
        unambiguous=True,
    )
    place = np.where(known[:, None], place, places)
    return place, (known | agreed) & (mirror >= 0)


def _partners(
    dataset: str, categories: NDArray[Any], category: Integers, names: NDArray[Any], keypoint: Integers
) -> Integers:
    """Mirror image of each keypoint of each category, by number (C, K); -1 where there is none."""
    partner = np.full((len(categories), len(names)), -1, dtype=np.int64)
    number = {str(name): index for index, name in enumerate(names)}
    for index, label in enumerate(categories):
        occurring = [str(names[code]) for code in np.unique(keypoint[category == index])]
        for name, mirror in mirrors(dataset, str(label), occurring).items():
            partner[index, number[name]] = number[mirror]
    return partner


def _look_up(
    keys: Integers, values: Floats, wanted: Integers, unambiguous: bool = False
) -> tuple[Floats, Flags]:
    """Value (N, 2) of each wanted key and whether there is one; if `unambiguous`, only where all of a key agree."""
    distinct, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    good = np.ones(len(distinct), dtype=bool)
    if unambiguous:
        differs = (values != values[first][inverse.reshape(-1)]).any(axis=1)
        good[inverse.reshape(-1)[differs]] = False
    at = np.minimum(np.searchsorted(distinct, wanted), len(distinct) - 1)
    return values[first][at], (distinct[at] == wanted) & good[at]

"""Whether a prediction is nearer to its own keypoint than to any other that the pair has: what PCK† asks besides.

PCK† (JamaisVu): within the distance, a prediction may still lie on another keypoint, of a small object above all. It
counts only where its own keypoint is the nearest of all target keypoints that are visible in both images.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from peftcorr.metrics.presets import Preset
from peftcorr.metrics.rows import Floats, Integers, coded, dataset_of, points

Flags = NDArray[np.bool_]
_CELLS = 1 << 20  # distances held at once


def nearest_is_own(rows: pa.Table, preset: Preset, sizes: Floats | None) -> Flags:
    """Which predictions have their own keypoint as the nearest of their pair's, (N,); a tie is the lower number's.

    Args:
        rows: predictions of one predictor on one split, N visible keypoints.
        preset: has the frame that distances are measured in.
        sizes: as `Preset.measure` takes them.
    """
    predicted, truth = preset.positions(
        points(rows, "prediction"), points(rows, "truth"), sizes, dataset_of(rows)
    )
    _, pair = np.unique(rows.column("pair").to_numpy(), return_inverse=True)
    pair = pair.reshape(-1)
    order = np.lexsort((_rank(rows), pair))
    count = np.bincount(pair)
    place = np.empty(len(rows), dtype=np.int64)
    place[order] = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    most = int(count.max(initial=1))
    others = np.full((len(count), most, 2), np.inf)
    others[pair, place] = truth
    nearest = np.empty(len(rows), dtype=np.int64)
    chunk = max(1, _CELLS // most)
    for start in range(0, len(rows), chunk):
        part = slice(start, start + chunk)
        offsets = others[pair[part]] - predicted[part, None]
        nearest[part] = np.hypot(offsets[..., 0], offsets[..., 1]).argmin(axis=1)
    found: Flags = nearest == place
    return found


def _rank(rows: pa.Table) -> Integers:
    """Order of the keypoints' names (N,): numbers by value, others after them by name."""
    names, keypoint = coded(rows, "keypoint_id")
    keys = [(0, int(n), "") if str(n).isdecimal() else (1, 0, str(n)) for n in names]
    rank = np.empty(len(names), dtype=np.int64)
    rank[sorted(range(len(names)), key=keys.__getitem__)] = np.arange(len(names))
    return rank[keypoint]

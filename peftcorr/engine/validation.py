"""PCK of a split straight from its arrays: what a choice among steps, learning rates or predictors looks at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from peftcorr.data.correspondences import Correspondences
from peftcorr.machine.startup import uncollected

Floats = NDArray[np.float64]


def split_pck(data: Correspondences, points: Floats, alphas: Sequence[float]) -> dict[str, float]:
    """PCK per keypoint, in percent, by threshold.

    As in the scores of a run, keypoints that the target hides are left out: their truth is no place in the image.

    Args:
        data: of the split.
        points: predictions in original pixels, (N, 2).
        alphas: thresholds as a share of the reference length.

    Raises:
        PeftCorrError: as `peftcorr.metrics.aggregate.aggregate`.
    """
    with uncollected():
        from peftcorr.metrics.pck import PCK  # a library of its own, which what is not trained does without
    seen = data.visible
    pair = data.pair[seen]
    found: dict[str, dict[str, float]] = PCK().compute(
        predictions=points[seen],
        references=data.target_points[seen],
        reference_lengths=data.reference_length[pair],
        pairs=pair,
        categories=[data.categories[number] for number in data.target[pair]],
        alphas=alphas,
    )
    return found["per_keypoint"]

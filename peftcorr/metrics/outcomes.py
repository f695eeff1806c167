"""What became of each keypoint: right, wrong, taken for its mirror image, or hidden in the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from peftcorr.metrics.aggregate import within
from peftcorr.metrics.confusion import confusions
from peftcorr.metrics.presets import PEFTCORR, Preset
from peftcorr.metrics.rows import Floats, frame_sizes, points

Outcome = Literal["right", "wrong", "mirrored", "hidden"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
RIGHT, WRONG, MIRRORED, HIDDEN = range(len(OUTCOMES))


@dataclass(frozen=True)
class Outcomes:
    """N keypoints, as one threshold has them.

    Attributes:
        kind: index of `OUTCOMES`, (N,).
        error: distance of the prediction as a share of the reference length, (N,); NaN where the truth is no place.
        reach: half width and half height of the region that is right, (N, 2), in pixels of the original target.
            It is a circle, but where a preset measures in a stretched frame.
    """

    kind: NDArray[np.int64]
    error: Floats
    reach: Floats


def outcomes(dataset: str, rows: pa.Table, alpha: float, preset: Preset = PEFTCORR) -> Outcomes:
    """Tell what became of each keypoint.

    A keypoint that is right stays so wherever its mirror image is. One that is not is ``mirrored`` when its prediction
    lies nearer to its mirror image than to its own place (`peftcorr.metrics.confusion`), however far from both.

    Args:
        dataset: its name, which says what the keypoints are.
        rows: predictions of one predictor on one whole split: other pairs tell where a mirror image lies.
        alpha: threshold as a share of the reference length.
        preset: when a keypoint is right.

    Raises:
        PeftCorrError: if the preset needs sizes that the rows do not have.
    """
    hidden = _hidden(rows)
    seen = np.flatnonzero(~hidden)
    shown = rows.take(pa.array(seen))
    sizes = frame_sizes(shown, preset, dataset)
    truth, prediction = points(shown, "truth"), points(shown, "prediction")
    lengths = shown.column("reference_length").to_numpy()

    right = within(prediction, truth, lengths, [alpha], preset, sizes, dataset)[0]
    distance, limit = preset.measure(prediction, truth, lengths, sizes, dataset)
    axes = [np.tile(axis, (len(seen), 1)) for axis in np.eye(2)]
    steps = [np.hypot(*preset.positions(axis, truth, sizes, dataset)[0].T) for axis in axes]
    mirrored = confusions(dataset, shown)[1] if len(seen) else right

    kind = np.full(len(rows), HIDDEN)
    kind[seen] = np.where(right, RIGHT, np.where(mirrored, MIRRORED, WRONG))
    error, reach = np.full(len(rows), np.nan), np.full((len(rows), 2), np.nan)
    error[seen] = distance / limit
    reach[seen] = alpha * limit[:, None] / np.stack(steps, axis=1)
    return Outcomes(kind, error, reach)


def _hidden(rows: pa.Table) -> NDArray[np.bool_]:
    """Which keypoints the target is said to hide, (N,)."""
    found: NDArray[np.bool_] = rows.column("target_occluded").fill_null(False).to_numpy()
    return found

"""The similarity map that a point was read from, in the pixels of the target."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peftcorr.data.frame import Frame
from peftcorr.matching.predictors import Predictor

Similarities = NDArray[np.float32]


class Maps(Predictor):
    """Keeps the maps that it is to predict from, and predicts nothing.

    Attributes:
        last: similarity (h, w) of the last point, on the CPU.
    """

    last: Tensor

    def __init__(self) -> None:
        super().__init__(self.Config())

    def predict(self, similarity: Tensor, stride: int) -> Tensor:
        """See `Predictor.predict`; the points are 0."""
        self.last = similarity[-1].float().cpu().clone()  # the next maps are written over these
        return torch.zeros((*similarity.shape[:-2], 2), dtype=torch.float64, device=similarity.device)


def in_pixels(similarity: Similarities, frame: Frame, stride: int) -> Similarities:
    """A map (h, w) of feature cells interpolated bilinearly at the pixels of its original image.

    Cell j is centred at (j + 0.5) stride - 0.5 in the input; beyond the outer centres the map is clamped.

    Args:
        similarity: of the cells of the square input.
        frame: of the original in that input.
        stride: pixels of the input per cell.

    Returns:
        (H, W), float32.
    """
    points = (
        np.zeros((max(frame.width, frame.height), 2)) + np.arange(max(frame.width, frame.height))[:, None]
    )
    cells = (frame.to_input(points) + 0.5) / stride - 0.5
    across, down = cells[: frame.width, 0], cells[: frame.height, 1]
    return _between(_between(similarity, down).T, across).T


def _between(rows: Similarities, places: NDArray[np.float64]) -> Similarities:
    """Rows (h, n) interpolated linearly at places (m,), clamped: (m, n)."""
    clamped = places.clip(0, len(rows) - 1)
    before = np.minimum(clamped.astype(np.int64), max(0, len(rows) - 2))
    share = (clamped - before).astype(np.float32)[:, None]
    after = np.minimum(before + 1, len(rows) - 1)
    found: Similarities = rows[before] * (1 - share) + rows[after] * share
    return found

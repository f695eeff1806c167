"""Many settings of ``window_softargmax`` at once, for choosing among them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from peftcorr.matching.predictors import Predictor, WindowSoftargmax, window_round_peak

_CHUNK_CELLS = 1 << 17  # cells of windows gathered at once, each a float64 in a few arrays


class WindowGrid(Predictor):
    """Predicts what every one of some settings of `WindowSoftargmax` does, to the last bit.

    The peak is looked for, and the largest window gathered, once for all of them.

    Args:
        settings: one or more.
    """

    def __init__(self, settings: Sequence[WindowSoftargmax.Config]):
        super().__init__(Predictor.Config())
        self.settings = tuple(settings)
        self.points = len(self.settings)

    def predict(self, similarity: Tensor, stride: int) -> Tensor:
        """x, y (len(settings), ..., 2), float64, of maps (..., h, w); see `Predictor.predict`."""
        maps = similarity.flatten(0, -3)
        largest = max(setting.radius for setting in self.settings)
        found = torch.empty((self.points, len(maps), 2), dtype=torch.float64, device=maps.device)
        chunk = max(1, _CHUNK_CELLS // (2 * largest + 1) ** 2)
        for start in range(0, len(maps), chunk):
            part = slice(start, start + chunk)
            window = window_round_peak(maps[part], largest)
            inner = {radius: window.inner(radius) for radius in {s.radius for s in self.settings}}
            for index, setting in enumerate(self.settings):
                found[index, part] = inner[setting.radius].mean(setting.temperature, stride)
        return found.view(self.points, *similarity.shape[:-2], 2)

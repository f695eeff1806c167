"""Argmax over every pixel: the target's features are brought bilinearly to the image's size before the peak is taken.

Nothing of the image's size times C is ever made. With f the normalised features, w the bilinear weights of a pixel x
and q the query, the similarity at x is

    <q, sum_i w_i f_i> / |sum_i w_i f_i|,

whose numerator is the similarity map interpolated, and whose denominator follows from the products of neighbouring
features: with at most four cells round a pixel there are five of them a cell, computed once an image.
"""

from __future__ import annotations

import math

import torch
from pydantic import BaseModel
from torch import Tensor

from peftcorr.matching.predictors import Predictor, TargetPredictor

_CHUNK_BYTES = 2 << 20  # held at once, whatever the number of maps and the image's size
_EPSILON = 1e-12  # the shortest feature that torch's normalize divides by its own length


class UpsampledArgmax(TargetPredictor):
    """The most similar pixel of the target's features brought bilinearly to the input's size (DIFT).

    Tang et al., "Emergent Correspondence from Image Diffusion", NeurIPS 2023.

    Each pixel's feature is interpolated and then normalised, which is not the interpolation of the similarity map. As
    in the rest of the protocol, features are normalised once before, so that a pixel of the target is sampled exactly
    as a query is; the paper's code interpolates raw features, which differs where neighbours differ in length, and to
    the original's pixels, where this has those of the input: the convention ``dift`` does as the code. Of equal pixels
    (as there are half a patch from the border, where interpolation is clamped) the first in reading order is taken.
    """

    def for_target(self, feature: Tensor) -> Predictor:
        """See `TargetPredictor.for_target`."""
        return _OfTarget(self.config, neighbour_products(feature))

    def enlarged(self, feature: Tensor, height: int, width: int) -> Predictor:
        """The predictor for the maps of one target that is enlarged to `height` x `width` pixels, which it predicts.

        Args:
            feature: the target's map (h, w, C), of unit length in each cell or not.
            height, width: of the original image.
        """
        return _OfTarget(self.config, neighbour_products(feature), (height, width))


class _OfTarget(Predictor):
    """Predicts pixels of one target, enlarged to H x W pixels: the input's without `size`."""

    def __init__(self, config: BaseModel, products: list[Tensor], size: tuple[int, int] | None = None):
        super().__init__(config)
        self._products, self._size = products, size

    def predict(self, similarity: Tensor, stride: int) -> Tensor:
        """See `Predictor.predict`."""
        height, width = similarity.shape[-2:]
        pixels_down, pixels_across = self._size or (height * stride, width * stride)
        maps = similarity.reshape(-1, height, width).float()
        down = interpolation(height, pixels_down, maps.device)
        across = interpolation(width, pixels_across, maps.device)
        best = maps.new_full((len(maps),), -torch.inf)
        where = torch.zeros(len(maps), dtype=torch.int64, device=maps.device)
        for row in range(height):  # the pixels of a row of cells depend on that row and its neighbours
            near = slice(max(0, row - 1), row + 2)
            first, end = (max(0, math.ceil(r * pixels_down / height - 0.5)) for r in (row, row + 1))
            band = down[first:end]
            if not len(band):  # of an image with fewer pixels than cells
                continue
            inverse = 1 / squared_length(self._products, band, across).clamp_min(_EPSILON**2).sqrt()
            chunk = max(1, _CHUNK_BYTES // (4 * len(band) * pixels_across))
            for start in range(0, len(maps), chunk):
                part = slice(start, start + chunk)
                found = (band[:, near] @ (maps[part, near] @ across.T)).mul_(inverse).flatten(1)
                top = found.amax(1)
                better, offset = top > best[part], first * pixels_across
                if maps.is_cpu:  # a device would wait here until it is known how many there are
                    better = torch.nonzero(better).squeeze(1)
                    best[start + better] = top[better]
                    where[start + better] = found[better].argmax(1) + offset
                else:
                    best[part] = torch.where(better, top, best[part])
                    where[part] = torch.where(better, found.argmax(1) + offset, where[part])
        pixels = torch.stack((where % pixels_across, where // pixels_across), -1)
        return pixels.double().view(*similarity.shape[:-2], 2)


def interpolation(count: int, pixels: int, device: torch.device | None = None) -> Tensor:
    """Weights (pixels, count), float32, that bring cells to pixels along one axis.

    Pixel x lies at (x + 0.5) count / pixels - 0.5 on the grid; beyond the outermost cells the border's counts alone
    (torch's ``align_corners=False``).
    """
    numbers = torch.arange(pixels, device=device, dtype=torch.float64)
    place = ((numbers + 0.5) / (pixels / count) - 0.5).clamp(0, count - 1)
    cells = torch.arange(count, device=device, dtype=torch.float64)
    return (1 - (place.unsqueeze(1) - cells).abs()).clamp_min(0).float()


def neighbour_products(feature: Tensor) -> list[Tensor]:
    """Products of each feature of a map (h, w, C) with its neighbours.

    Returns:
        with itself (h, w), with the next column (h, w - 1), with the next row (h - 1, w), and, of each square of four
        cells, the mean of both diagonals' (h - 1, w - 1).
    """
    right, below = feature[:, 1:], feature[1:]
    return [
        _products(feature, feature),
        _products(feature[:, :-1], right),
        _products(feature[:-1], below),
        (_products(feature[:-1, :-1], below[:, 1:]) + _products(feature[:-1, 1:], below[:, :-1])) / 2,
    ]


def _products(one: Tensor, other: Tensor) -> Tensor:
    """Products (a, b) of two maps' features (a, b, C), some rows at a time."""
    rows = max(1, _CHUNK_BYTES // (4 * max(1, one.shape[1] * one.shape[2])))
    found = one.new_empty(one.shape[:2])
    for start in range(0, len(one), rows):
        part = slice(start, start + rows)
        found[part] = (one[part] * other[part]).sum(-1)
    return found


def squared_length(products: list[Tensor], down: Tensor, across: Tensor) -> Tensor:
    """Squared length (H, W) of interpolated features.

    It is the sum over pairs of cells of the products of their weights and features. Weights of a pixel are those of
    its row times those of its column, so a pair's are too, and the sum is one of matrix products.

    Args:
        products: of `neighbour_products`.
        down: weights (H, h) of some rows of pixels.
        across: weights (W, w) of the columns.
    """
    itself, right, below, diagonals = products
    (same_row, two_rows), (same_column, two_columns) = (
        (weights**2, 2 * weights[:, :-1] * weights[:, 1:]) for weights in (down, across)
    )
    return (same_row @ itself + two_rows @ below) @ same_column.T + (
        same_row @ right + two_rows @ diagonals
    ) @ two_columns.T

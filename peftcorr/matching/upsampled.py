"""Argmax over every pixel: the target's features are brought bilinearly to the image's size before the peak is taken.

Nothing of the image's size times C is ever made. With f the normalised features, w the bilinear weights of a pixel x
and q the query, the similarity at x is

    <q, sum_i w_i f_i> / |sum_i w_i f_i|,

whose numerator is the similarity map interpolated, and whose denominator follows from the products of neighbouring
features: with at most four cells round a pixel there are five of them a cell, computed once an image.
"""

from __future__ import annotations

import torch
from pydantic import BaseModel
from torch import Tensor

from peftcorr.matching.predictors import Predictor, TargetPredictor

_CHUNK_BYTES = 2 << 20  # held at once, whatever the number of maps and the image's size
_EPSILON = 1e-12  # the shortest feature that torch's normalize divides by its own length


class UpsampledArgmax(TargetPredictor):
    """The most similar pixel of the target's features brought bilinearly to the input's size (DIFT).

    Tang et al., "Emergent Correspondence from Image Diffusion", NeurIPS 2023. Each pixel's feature is interpolated and
    then normalised, which is not the interpolation of the similarity map. As in the rest of the protocol, features are
    normalised once before, so that a pixel of the target is sampled exactly as a query is; the paper's code
    interpolates raw features, which differs where neighbours differ in length, and to the original's pixels, where
    this has those of the input. Of equal pixels (as there are half a patch from the border, where interpolation is
    clamped) the first in reading order is taken.
    """

    def for_target(self, feature: Tensor) -> Predictor:
        """See `TargetPredictor.for_target`."""
        return _OfTarget(self.config, neighbour_products(feature))


class _OfTarget(Predictor):
    def __init__(self, config: BaseModel, products: list[Tensor]):
        super().__init__(config)
        self._products = products

    def predict(self, similarity: Tensor, stride: int) -> Tensor:
        """See `Predictor.predict`."""
        height, width = similarity.shape[-2:]
        maps = similarity.reshape(-1, height, width).float()
        down, across = (interpolation(count, stride, maps.device) for count in (height, width))
        best = maps.new_full((len(maps),), -torch.inf)
        where = torch.zeros(len(maps), dtype=torch.int64, device=maps.device)
        chunk = max(1, _CHUNK_BYTES // (4 * stride * width * stride))
        for row in range(height):  # the pixels of a row of cells depend on that row and its neighbours
            near = slice(max(0, row - 1), row + 2)
            band = down[row * stride : (row + 1) * stride]
            inverse = 1 / squared_length(self._products, band, across).clamp_min(_EPSILON**2).sqrt()
            for start in range(0, len(maps), chunk):
                part = slice(start, start + chunk)
                found = (band[:, near] @ (maps[part, near] @ across.T)).mul_(inverse).flatten(1)
                top = found.amax(1)
                better, offset = top > best[part], row * stride * width * stride
                if maps.is_cpu:  # a device would wait here until it is known how many there are
                    better = torch.nonzero(better).squeeze(1)
                    best[start + better] = top[better]
                    where[start + better] = found[better].argmax(1) + offset
                else:
                    best[part] = torch.where(better, top, best[part])
                    where[part] = torch.where(better, found.argmax(1) + offset, where[part])
        pixels = torch.stack((where % (width * stride), where // (width * stride)), -1)
        return pixels.double().view(*similarity.shape[:-2], 2)


def interpolation(count: int, stride: int, device: torch.device | None = None) -> Tensor:
    """Weights (count stride, count), float32, that bring cells to pixels along one axis.

    Cell j is centred at (j + 0.5) stride - 0.5, pixel centres on integers; beyond the outermost centres the border's
    cell counts alone (torch's ``align_corners=False``).
    """
    pixels = torch.arange(count * stride, device=device, dtype=torch.float64)
    place = ((pixels + 0.5) / stride - 0.5).clamp(0, count - 1)
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

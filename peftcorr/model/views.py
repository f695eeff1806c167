"""Two pictures as a finished run sees them: their features, and how similar one is to points of the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from peftcorr.data.frame import Frame, resize
from peftcorr.features.encode import autocast
from peftcorr.matching.similarity import normalise, sample_queries, similarity
from peftcorr.model.finished import Finished

Pixels = NDArray[np.uint8]


class Views:
    """Features of a source and a target.

    Args:
        finished: the run, with its adapter in place.
        source, target: (H, W, 3) uint8.
        category: of the objects, for backbones that look for it.
    """

    def __init__(self, finished: Finished, source: Pixels, target: Pixels, category: str):
        backbone = finished.backbone
        size, mode = backbone.config.image_size, backbone.config.resize
        self._stride = backbone.stride
        self._source, self._target = (
            Frame(picture.shape[1], picture.shape[0], size, mode) for picture in (source, target)
        )
        raw = torch.stack(
            [torch.from_numpy(resize(one, size, mode).transpose(2, 0, 1).copy()) for one in (source, target)]
        )
        padded = mode == "pad" and backbone.pads_normalised
        extents = [frame.extent for frame in (self._source, self._target)] if padded else None
        with torch.inference_mode(), autocast(finished.recipe.score_precision, torch.device("cpu"))():
            if backbone.uses_categories:
                backbone.condition([category, category])
            self._features = normalise(backbone.features(backbone.preprocess(raw, extents)).float())

    def maps(self, points: Sequence[tuple[float, float]]) -> NDArray[np.float32]:
        """Cosine similarity of K points of the source with every pixel of the target, (K, H, W).

        The map that a predictor reads has a cell every `stride` pixels of the square input; between their centres it
        is interpolated.

        Args:
            points: x, y in pixels of the source.
        """
        inside = torch.from_numpy(self._source.to_input(np.asarray(points).reshape(-1, 2)))
        queries = sample_queries(self._features[:1], inside[None], self._stride)
        frame = self._target
        size, (width, height) = (frame.size, frame.size), frame.extent
        found = similarity(queries, self._features[1:])
        whole = interpolate(found, size=size, mode="bilinear", align_corners=False)[..., :height, :width]
        pixels = interpolate(whole, size=(frame.height, frame.width), mode="bilinear", align_corners=False)
        maps: NDArray[np.float32] = pixels[0].numpy()
        return maps

    def colours(self) -> tuple[Pixels, Pixels]:
        """Both feature maps as pictures (h, w, 3): their first three principal components as red, green and blue."""
        cells = self._features.flatten(2).transpose(1, 2)  # 2, h w, C
        flat = cells.flatten(0, 1).double()
        centred = flat - flat.mean(0)
        _, directions = torch.linalg.eigh(centred.T @ centred)
        main = directions[:, -3:].flip(1)
        # A direction has no sign of its own: that of its largest entry makes the picture the same everywhere.
        main = main * main.gather(0, main.abs().argmax(0, keepdim=True)).sign()
        found = (centred @ main).numpy()
        low, high = np.quantile(found, [0.02, 0.98], axis=0)
        scaled = ((found - low) / np.maximum(high - low, 1e-12)).clip(0, 1)
        height, width = self._features.shape[-2:]
        pictures = (255 * scaled).round().astype(np.uint8).reshape(2, height, width, 3)
        return pictures[0], pictures[1]

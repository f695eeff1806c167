"""How similar every place of one picture is to points of another, as a finished run sees them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from peftcorr.data.frame import Frame, resize
from peftcorr.features.encode import autocast
from peftcorr.matching.similarity import normalise, sample_queries, similarity
from peftcorr.model.finished import Finished

Pixels = NDArray[np.uint8]


def similarity_maps(
    finished: Finished,
    source: Pixels,
    target: Pixels,
    points: Sequence[tuple[float, float]],
    category: str,
) -> NDArray[np.float32]:
    """Cosine similarity of K points of a picture with every pixel of another, (K, H, W).

    The map that a predictor reads has a cell every `stride` pixels of the square input; between their centres it is
    interpolated.

    Args:
        finished: the run, with its adapter in place.
        source, target: (H, W, 3) uint8.
        points: x, y in pixels of the source.
        category: of the objects, for backbones that look for it.
    """
    backbone = finished.backbone
    size, mode = backbone.config.image_size, backbone.config.resize
    frames = [Frame(picture.shape[1], picture.shape[0], size, mode) for picture in (source, target)]
    raw = torch.stack(
        [torch.from_numpy(resize(one, size, mode).transpose(2, 0, 1).copy()) for one in (source, target)]
    )
    padded = mode == "pad" and backbone.pads_normalised
    with torch.inference_mode(), autocast(finished.recipe.score_precision, torch.device("cpu"))():
        if backbone.uses_categories:
            backbone.condition([category, category])
        images = backbone.preprocess(raw, [frame.extent for frame in frames] if padded else None)
        features = normalise(backbone.features(images).float())
        inside = torch.from_numpy(frames[0].to_input(np.asarray(points).reshape(-1, 2)))
        queries = sample_queries(features[:1], inside[None], backbone.stride)
        maps = similarity(queries, features[1:])
        return _in_pixels(maps[0], frames[1])


def _in_pixels(maps: Tensor, frame: Frame) -> NDArray[np.float32]:
    """Maps (K, h, w) of the square input in the pixels of its picture, (K, H, W)."""
    whole = interpolate(maps[None], size=(frame.size, frame.size), mode="bilinear", align_corners=False)
    width, height = frame.extent
    part = whole[..., :height, :width]
    found = interpolate(part, size=(frame.height, frame.width), mode="bilinear", align_corners=False)
    return found[0].numpy()

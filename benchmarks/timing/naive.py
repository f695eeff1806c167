"""The loops that published systems run, with nothing in them that they could do without.

Images are decoded, resized and normalised before the clock starts, and each is kept: reading a photograph again for
every pair that it is in, as most do, is not counted against them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from peftcorr.backbones import Backbone
from peftcorr.data.correspondences import Correspondences, Floats
from peftcorr.engine.evaluate import Split
from peftcorr.matching.loss import LossConfig, matching_loss
from peftcorr.matching.predictors import Predictor
from peftcorr.matching.similarity import normalise, sample_queries, similarity


class Prepared:
    """Photographs of some pairs, ready for the encoder, and their keypoints in pixels of the input."""

    def __init__(self, split: Split, backbone: Backbone, pairs: Sequence[int]):
        data, store = split.data, split.store
        self.data, self.store, self.pairs = data, store, list(pairs)
        self.first = np.searchsorted(data.pair, np.arange(len(data.source) + 1))
        numbers = np.unique(np.concatenate((data.source[self.pairs], data.target[self.pairs])))
        self.images: dict[int, Tensor] = {
            int(n): backbone.preprocess(store.get([data.images[n]], [data.sizes[n]])) for n in numbers
        }
        rows = np.concatenate([self.rows(pair) for pair in self.pairs])
        self.source = np.full_like(data.source_points, np.nan)
        self.target = np.full_like(data.target_points, np.nan)
        self.source[rows] = data.to_input(data.source_points[rows], data.source[data.pair[rows]], store)
        self.target[rows] = data.to_input(data.target_points[rows], data.target[data.pair[rows]], store)

    def rows(self, pair: int) -> np.ndarray:
        """Correspondences of a pair."""
        return np.arange(self.first[pair], self.first[pair + 1])

    def stack(self, pairs: Sequence[int]) -> Tensor:
        """Source and target of each pair, (2 len(pairs), 3, H, W)."""
        data: Correspondences = self.data
        ends = [end for pair in pairs for end in (int(data.source[pair]), int(data.target[pair]))]
        return torch.cat([self.images[end] for end in ends])


def naive_evaluation(
    prepared: Prepared, backbone: Backbone, predictors: Sequence[Predictor]
) -> tuple[float, Floats]:
    """Score pair by pair: both images of a pair in one forward, matched, and forgotten.

    Returns:
        seconds, and the predictions (len(predictors), N, 2), zero where a pair was left out.
    """
    data, stride = prepared.data, backbone.stride
    predicted = np.zeros((len(predictors), len(data), 2))
    begun = time.perf_counter()
    with torch.inference_mode():
        for pair in prepared.pairs:
            rows = prepared.rows(pair)
            maps = normalise(backbone.features(prepared.stack([pair])))
            queries = sample_queries(maps[:1], torch.from_numpy(prepared.source[rows])[None], stride)[0]
            scores = similarity(queries, maps[1])
            for index, predictor in enumerate(predictors):
                predicted[index, rows] = predictor.predict(scores, stride).numpy()
    elapsed = time.perf_counter() - begun
    rows = np.concatenate([prepared.rows(pair) for pair in prepared.pairs])
    target = data.target[data.pair[rows]]
    for index in range(len(predictors)):
        predicted[index, rows] = data.to_original(predicted[index, rows], target, prepared.store)
    return elapsed, predicted


def naive_training(
    prepared: Prepared,
    backbone: Backbone,
    optimizer: torch.optim.Optimizer,
    pairs_a_step: int,
    config: LossConfig,
) -> float:
    """Train on the pairs in turn, `pairs_a_step` in a step: two forwards a pair in one batch, the losses one by one.

    Returns:
        seconds.
    """
    stride = backbone.stride
    parameters = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    backbone.train()
    begun = time.perf_counter()
    for start in range(0, len(prepared.pairs), pairs_a_step):
        pairs = prepared.pairs[start : start + pairs_a_step]
        maps = normalise(backbone.features(prepared.stack(pairs)))
        losses = []
        for place, pair in enumerate(pairs):
            rows = prepared.rows(pair)
            points = torch.from_numpy(prepared.source[rows])[None]
            queries = sample_queries(maps[2 * place : 2 * place + 1], points, stride)[0]
            truth = torch.from_numpy((prepared.target[rows] + 0.5) / stride - 0.5)
            losses.append(matching_loss(similarity(queries, maps[2 * place + 1]), truth, config))
        torch.autograd.backward(torch.cat(losses).mean())
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - begun

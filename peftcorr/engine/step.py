"""The loss of one batch: a few tensor operations for all its pairs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from peftcorr.data.correspondences import Correspondences, Floats, Ints
from peftcorr.data.images import ImageStore
from peftcorr.engine.batches import Batch
from peftcorr.matching.loss import LossConfig, matching_loss
from peftcorr.matching.similarity import normalise, sample_queries


def batch_loss(
    features: Tensor, batch: Batch, data: Correspondences, store: ImageStore, stride: int, config: LossConfig
) -> Tensor:
    """Loss (M,) of every correspondence of a batch, given its features (B, C, h, w).

    Every distinct query is compared with every map in one product; each correspondence then takes its own map.
    """
    maps = normalise(features.float())
    count, channels, height, width = maps.shape
    source = data.to_input(batch.query_points, batch.images[batch.query_slot], store)
    truth = (data.to_input(batch.truth, batch.images[batch.target_slot], store) + 0.5) / stride - 0.5
    distinct, which = np.unique(np.column_stack((batch.query_slot, source)), axis=0, return_inverse=True)
    queries = _sample(maps, distinct[:, 0].astype(np.int64), distinct[:, 1:].astype(np.float64), stride)
    every = queries @ maps.permute(1, 0, 2, 3).reshape(channels, -1)
    every = every.view(len(queries), count, height, width)
    chosen = every[torch.from_numpy(which.ravel()), torch.from_numpy(batch.target_slot)]
    return matching_loss(chosen, torch.from_numpy(truth).to(maps.device), config)


def _sample(maps: Tensor, slot: Ints, points: Floats, stride: int) -> Tensor:
    """Queries (U, C) at points (U, 2) of the maps `slot`, which is sorted."""
    place = np.arange(len(slot)) - np.searchsorted(slot, slot)
    padded = np.zeros((len(maps), int(place.max(initial=0)) + 1, 2))
    padded[slot, place] = points
    sampled = sample_queries(maps, torch.from_numpy(padded).to(maps.device), stride)
    return sampled[torch.from_numpy(slot), torch.from_numpy(place)]


def first_bad_pair(losses: Tensor, batch: Batch, data: Correspondences) -> str:
    """Name the first pair of a batch whose loss is not finite (the first pair of all if every loss is)."""
    bad = (~torch.isfinite(losses)).nonzero()
    row = int(bad[0]) if len(bad) else 0
    source, target = batch.images[batch.query_slot[row]], batch.images[batch.target_slot[row]]
    return f"{data.images[source]} -> {data.images[target]}"

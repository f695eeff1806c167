"""The loss of one batch: a few tensor operations for all its pairs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from peftcorr.data.correspondences import Correspondences, Floats, Ints
from peftcorr.engine.batches import Batch, Share
from peftcorr.engine.evaluate import Split
from peftcorr.matching.loss import LossConfig, matching_loss
from peftcorr.matching.similarity import normalise, sample_queries


def batch_loss(
    features: Tensor,
    batch: Batch,
    split: Split,
    stride: int,
    config: LossConfig,
    share: Share | None = None,
    exchange: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Loss of the correspondences of a batch, given features (B, C, h, w) of its images.

    Every distinct query is compared with every map in one product; each correspondence then takes its own map.

    Args:
        features: of the images in `share.slots`, in that order.
        batch: of all processes.
        split: has the geometry of the images.
        stride: pixels per feature cell.
        config: the loss.
        share: what this process does of the batch; everything by default.
        exchange: sums a tensor over the processes, with a gradient. Queries go through it, not maps: each process
            samples those of its own images and compares all of them with its own maps, which then need not travel.

    Returns:
        losses (len(share.rows),).
    """
    share = batch.share(0, 1) if share is None else share
    maps = normalise(features.float())
    count, channels, height, width = maps.shape
    data, store = split.data, split.store
    source = data.to_input(batch.query_points, batch.images[batch.query_slot], store)
    truth = data.to_input(batch.truth[share.rows], batch.images[batch.target_slot[share.rows]], store)
    distinct, which = np.unique(np.column_stack((batch.query_slot, source)), axis=0, return_inverse=True)
    slot, points = distinct[:, 0].astype(np.int64), distinct[:, 1:].astype(np.float64)
    own = np.isin(slot, share.slots)
    queries = _sample(maps, np.searchsorted(share.slots, slot[own]), points[own], stride)
    if exchange is not None:
        place = torch.from_numpy(np.flatnonzero(own)).to(maps.device)
        # The empty sum makes the exchange part of every process's backward pass, which all must enter together.
        everybody = maps.new_zeros((len(slot), channels)) + 0 * maps.sum()
        queries = exchange(everybody.index_copy(0, place, queries))
    every = queries @ maps.permute(1, 0, 2, 3).reshape(channels, -1)
    every = every.view(len(queries), count, height, width)
    targets = np.searchsorted(share.slots, batch.target_slot[share.rows])
    chosen = every[torch.from_numpy(which.ravel()[share.rows]), torch.from_numpy(targets)]
    cells = (truth + 0.5) / stride - 0.5
    return matching_loss(chosen, torch.from_numpy(cells).to(maps.device), config)


def _sample(maps: Tensor, slot: Ints, points: Floats, stride: int) -> Tensor:
    """Queries (U, C) at points (U, 2) of the maps `slot`, which is sorted."""
    if not len(slot):
        return maps.new_zeros((0, maps.shape[1]))
    place = np.arange(len(slot)) - np.searchsorted(slot, slot)
    padded = np.zeros((len(maps), int(place.max(initial=0)) + 1, 2))
    padded[slot, place] = points
    sampled = sample_queries(maps, torch.from_numpy(padded).to(maps.device), stride)
    return sampled[torch.from_numpy(slot), torch.from_numpy(place)]


def first_bad(losses: Tensor, share: Share, batch: Batch) -> int:
    """First correspondence of a share whose loss is not finite, or how many the batch has if there is none."""
    bad = (~torch.isfinite(losses)).nonzero()
    return int(share.rows[int(bad[0])]) if len(bad) else len(batch.query_slot)


def pair_name(batch: Batch, row: int, data: Correspondences) -> str:
    """The images of a batch's correspondence."""
    source, target = batch.images[batch.query_slot[row]], batch.images[batch.target_slot[row]]
    return f"{data.images[source]} -> {data.images[target]}"

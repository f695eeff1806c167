"""The loss of one batch: a few tensor operations for all its pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
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
        place = _on(maps, np.flatnonzero(own))
        # The empty sum makes the exchange part of every process's backward pass, which all must enter together.
        everybody = maps.new_zeros((len(slot), channels)) + 0 * maps.sum()
        queries = exchange(everybody.index_copy(0, place, queries))
    every = queries @ maps.permute(1, 0, 2, 3).reshape(channels, -1)
    every = every.view(len(queries), count, height, width)
    targets = np.searchsorted(share.slots, batch.target_slot[share.rows])
    chosen = every[_on(maps, which.ravel()[share.rows]), _on(maps, targets)]
    cells = ((truth + 0.5) / stride - 0.5).astype(np.float32)  # there may be no float64 on the device
    return matching_loss(chosen, _on(maps, cells), config)


def _on(maps: Tensor, values: NDArray[Any]) -> Tensor:
    """An array as a tensor beside the maps."""
    return torch.from_numpy(values).to(maps.device, non_blocking=True)


def _sample(maps: Tensor, slot: Ints, points: Floats, stride: int) -> Tensor:
    """Queries (U, C) at points (U, 2) of the maps `slot`, which is sorted."""
    if not len(slot):
        return maps.new_zeros((0, maps.shape[1]))
    place = np.arange(len(slot)) - np.searchsorted(slot, slot)
    padded = np.zeros((len(maps), int(place.max(initial=0)) + 1, 2))
    padded[slot, place] = points
    sampled = sample_queries(maps, torch.from_numpy(padded), stride)
    return sampled[_on(maps, slot), _on(maps, place)]


def first_bad(losses: Tensor) -> Tensor:
    """Position of the first loss that is not finite, or how many there are if all are finite; on the losses' device."""
    bad = ~torch.isfinite(losses)
    positions = torch.arange(len(losses), device=losses.device)
    return positions.masked_fill(~bad, len(losses)).amin() if len(losses) else positions.new_zeros(())


def pair_name(batch: Batch, row: int, data: Correspondences) -> str:
    """The images of a batch's correspondence."""
    source, target = batch.images[batch.query_slot[row]], batch.images[batch.target_slot[row]]
    return f"{data.images[source]} -> {data.images[target]}"

"""The loss of a batch, in one product, against a loop over its correspondences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from peftcorr.engine.batches import CliqueSampler, PairSampler, Share
from peftcorr.engine.evaluate import Split
from peftcorr.engine.step import batch_loss, first_bad, pair_name
from peftcorr.matching.loss import LossConfig, matching_loss
from tests.engine.building import load_split
from tests.small_models import SIZE, Small, build

STRIDE = 8
CELLS = SIZE // STRIDE


def bilinear(feature: Tensor, x: float, y: float) -> Tensor:
    """A map (C, h, w) at a point in pixels of the input, clamped, neighbour by neighbour."""
    column = min(max((x + 0.5) / STRIDE - 0.5, 0), CELLS - 1)
    row = min(max((y + 0.5) / STRIDE - 0.5, 0), CELLS - 1)
    left, top = min(int(column), CELLS - 2), min(int(row), CELLS - 2)
    right, down = column - left, row - top
    return (
        (1 - down) * ((1 - right) * feature[:, top, left] + right * feature[:, top, left + 1])
        + down * ((1 - right) * feature[:, top + 1, left] + right * feature[:, top + 1, left + 1])
    )  # fmt: skip


def to_input(split: Split, image: int, point: np.ndarray) -> tuple[float, float]:
    """A point of an original image in the square input, by the formula of the protocol."""
    width, height = split.data.sizes[image]
    return (point[0] + 0.5) * SIZE / width - 0.5, (point[1] + 0.5) * SIZE / height - 0.5


@pytest.mark.parametrize("kind", [CliqueSampler, PairSampler])
@pytest.mark.parametrize("config", [LossConfig(distance=1, cross_entropy=0), LossConfig()])
def test_equals_a_loop_over_correspondences(
    photographs: Path, small_weights: Path, tmp_path: Path, kind: type[CliqueSampler], config: LossConfig
) -> None:
    split, backbone = load_split(photographs, tmp_path), build(Small, small_weights)
    data, sampler = split.data, kind(split.data, 4, seed=0)
    for step in range(3):
        batch = sampler.batch(step)
        raw = split.store.get([data.images[n] for n in batch.images])
        with torch.no_grad():
            features = backbone.features(backbone.preprocess(raw))
        found = batch_loss(features, batch, split, STRIDE, config)
        assert len(found) == len(batch.truth)
        for row in range(len(found)):
            one, other = int(batch.query_slot[row]), int(batch.target_slot[row])
            unit = torch.nn.functional.normalize(features.double(), dim=1)
            query = bilinear(unit[one], *to_input(split, int(batch.images[one]), batch.query_points[row]))
            scores = torch.einsum("c,chw->hw", query / query.norm(), unit[other])
            truth = to_input(split, int(batch.images[other]), batch.truth[row])
            cells = torch.tensor([[(value + 0.5) / STRIDE - 0.5 for value in truth]])
            expected = matching_loss(scores[None], cells, config)[0]
            torch.testing.assert_close(found[row], expected, rtol=1e-5, atol=1e-5)


def test_gradients_reach_every_image_of_a_clique(photographs: Path, tmp_path: Path) -> None:
    split = load_split(photographs, tmp_path)
    split.data.decode(split.store)
    batch = CliqueSampler(split.data, 3, seed=0).batch(0)
    features = torch.randn(3, 32, CELLS, CELLS, requires_grad=True)
    batch_loss(features, batch, split, STRIDE, LossConfig()).mean().backward()
    assert features.grad is not None
    used = np.unique(np.concatenate((batch.query_slot, batch.target_slot)))
    assert (features.grad.flatten(1).norm(dim=1) > 0).nonzero().ravel().tolist() == used.tolist()


def test_the_first_bad_pair_is_named(photographs: Path, tmp_path: Path) -> None:
    data = load_split(photographs, tmp_path).data
    batch = CliqueSampler(data, 3, seed=0).batch(0)
    assert first_bad(torch.zeros(0)) == 0
    for share in (batch.share(0, 1), batch.share(1, 2)):
        losses = torch.zeros(len(share.rows))
        assert first_bad(losses) == len(losses)
        losses[-1] = torch.nan
        assert first_bad(losses) == len(losses) - 1
        row = int(share.rows[-1])
        source, target = batch.images[batch.query_slot[row]], batch.images[batch.target_slot[row]]
        assert pair_name(batch, row, data) == f"{data.images[source]} -> {data.images[target]}"
        losses[0] = torch.inf
        assert first_bad(losses) == 0


@pytest.mark.parametrize("processes", [2, 3, 7])
def test_shares_add_up_to_the_whole(photographs: Path, tmp_path: Path, processes: int) -> None:
    """Losses and gradients of all shares together are those of one process; a share may be empty."""
    split = load_split(photographs, tmp_path)
    split.data.decode(split.store)
    batch = CliqueSampler(split.data, 4, seed=0).batch(0)
    features = torch.randn(len(batch.images), 32, CELLS, CELLS, requires_grad=True)
    whole = batch_loss(features, batch, split, STRIDE, LossConfig())
    whole.sum().backward()
    expected, features.grad = features.grad, None
    shares = [batch.share(process, processes) for process in range(processes)]
    assert sorted(slot for share in shares for slot in share.slots) == list(range(len(batch.images)))
    parts: list[Tensor] = []

    def keep(part: Tensor) -> Tensor:
        parts.append(part)
        return part

    def losses(share: Share, exchange: Callable[[Tensor], Tensor]) -> Tensor:
        return batch_loss(features[share.slots], batch, split, STRIDE, LossConfig(), share, exchange)

    for share in shares:  # what each process gives to the exchange
        losses(share, keep)
    exchanged, found = torch.stack(parts).sum(0), torch.zeros_like(whole)
    for share in shares:
        found[share.rows] = losses(share, lambda _: exchanged)
    torch.testing.assert_close(found, whole)
    found.sum().backward()
    torch.testing.assert_close(features.grad, expected)

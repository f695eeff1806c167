"""The training loss against brute force, cell by cell."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from peftcorr.matching.loss import LossConfig, matching_loss

DISTANCE = LossConfig(distance=1, cross_entropy=0)
CROSS_ENTROPY = LossConfig(distance=0, cross_entropy=1, gaussian_beta=20, sigma=0.7)


def softmax(values: list[float]) -> list[float]:
    weights = [math.exp(value - max(values)) for value in values]
    return [weight / sum(weights) for weight in weights]


def brute(values: Tensor, truth: tuple[float, float], config: LossConfig) -> float:
    """Loss of one map (h, w), x and y of the truth in cells."""
    cells = [(row, column) for row in range(values.shape[0]) for column in range(values.shape[1])]
    logits = [float(values[cell]) for cell in cells]
    weights = softmax([config.beta * value for value in logits])
    x = sum(weight * column for weight, (_, column) in zip(weights, cells, strict=True))
    y = sum(weight * row for weight, (row, _) in zip(weights, cells, strict=True))
    squared = (x - truth[0]) ** 2 + (y - truth[1]) ** 2
    near = [
        -((column - truth[0]) ** 2 + (row - truth[1]) ** 2) / (2 * config.sigma**2) for row, column in cells
    ]
    found = softmax([config.gaussian_beta * value for value in logits])
    entropy = -sum(p * math.log(q) for p, q in zip(softmax(near), found, strict=True))
    return config.distance * squared + config.cross_entropy * entropy


def maps(count: int = 6, seed: int = 0) -> Tensor:
    return 2 * torch.rand((count, 5, 7), generator=torch.Generator().manual_seed(seed)) - 1


@pytest.mark.parametrize(
    "config",
    [
        DISTANCE,
        CROSS_ENTROPY,
        LossConfig(distance=0.02, beta=7, cross_entropy=1, gaussian_beta=13, sigma=1.5),
        LossConfig(distance=2, cross_entropy=0.5, sigma=0.3),
    ],
)
def test_against_brute_force(config: LossConfig) -> None:
    values = maps()
    truth = torch.tensor([[0, 0], [6, 4], [2.3, 1.7], [-0.5, -0.5], [6.4, 4.4], [3, 2]], dtype=torch.float64)
    found = matching_loss(values, truth, config)
    assert found.shape == (6,)
    assert found.dtype == torch.float32
    for row in range(6):
        x, y = truth[row].tolist()
        assert found[row].item() == pytest.approx(brute(values[row], (x, y), config), rel=1e-4, abs=1e-5)


def test_distance_is_squared_and_in_patches() -> None:
    values = torch.full((1, 5, 7), -1.0)
    values[0, 1, 2] = 1
    assert matching_loss(
        values, torch.tensor([[2.0, 1.0]]), LossConfig(distance=1, cross_entropy=0, beta=100)
    ).item() == pytest.approx(0)
    found = matching_loss(
        values, torch.tensor([[5.0, 3.0]]), LossConfig(distance=1, cross_entropy=0, beta=100)
    )
    assert found.item() == pytest.approx(3**2 + 2**2, rel=1e-5)


@pytest.mark.parametrize("config", [DISTANCE, CROSS_ENTROPY], ids=["distance", "cross-entropy"])
def test_falls_as_the_map_sharpens_at_the_truth(config: LossConfig) -> None:
    rows, columns = torch.meshgrid(torch.arange(5.0), torch.arange(7.0), indexing="ij")
    distance = (columns - 2) ** 2 + (rows - 1) ** 2
    losses = [
        matching_loss(-sharpness * distance[None], torch.tensor([[2.0, 1.0]]), config).item()
        for sharpness in (0.0, 0.005, 0.01, 0.02, 0.04)
    ]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.5


@pytest.mark.parametrize("config", [DISTANCE, CROSS_ENTROPY], ids=["distance", "cross-entropy"])
def test_gradients_raise_the_truth_above_its_rival(config: LossConfig) -> None:
    values = torch.zeros(1, 5, 7, requires_grad=True)
    for _ in range(50):
        (gradient,) = torch.autograd.grad(
            matching_loss(values, torch.tensor([[5.0, 3.0]]), config).sum(), values
        )
        assert gradient.isfinite().all()
        values = (values - 0.01 * gradient).detach().requires_grad_(True)
    assert int(values.argmax()) in (3 * 7 + 5, 3 * 7 + 6, 4 * 7 + 5, 4 * 7 + 6)
    assert values[0, 3, 5] > values[0, 1, 1]


def test_every_correspondence_has_its_own_loss() -> None:
    values, truth = maps(), torch.rand(6, 2) * 4
    whole = matching_loss(values, truth, DISTANCE)
    for row in range(6):
        one = matching_loss(values[row : row + 1], truth[row : row + 1], DISTANCE)
        torch.testing.assert_close(one[0], whole[row])
    assert matching_loss(values[:0], truth[:0], DISTANCE).shape == (0,)


def test_half_precision_maps_give_a_full_precision_loss() -> None:
    found = matching_loss(maps().bfloat16(), torch.rand(6, 2), LossConfig(cross_entropy=1))
    assert found.dtype == torch.float32
    assert found.isfinite().all()


def test_a_loss_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="both 0"):
        LossConfig(distance=0, cross_entropy=0)

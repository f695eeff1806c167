"""Where features are sampled, on numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from peftcorr.matching.similarity import cell_centres, normalise, sample_queries, similarity


def test_patch_centres() -> None:
    """Patch j is centred at (j + 0.5) stride - 0.5, in pixels whose centres are whole numbers."""
    assert cell_centres(4, 14).tolist() == [6.5, 20.5, 34.5, 48.5]
    assert cell_centres(3, 1).tolist() == [0, 1, 2]
    assert cell_centres(37, 14)[-1] == 510.5
    assert cell_centres(2, 16).dtype == torch.float64


def plane(width: int = 4, height: int = 3) -> torch.Tensor:
    """A map (1, 3, h, w) of unit vectors, one axis a corner of the plane, told apart by angle."""
    angle = torch.arange(height * width, dtype=torch.float64).view(height, width) * 0.1
    return torch.stack((angle.cos(), angle.sin(), torch.zeros_like(angle)))[None]


@pytest.mark.parametrize("stride", [8, 14, 16])
def test_at_a_patch_centre_the_patch_itself_is_sampled(stride: int) -> None:
    features = plane()
    x, y = cell_centres(4, stride), cell_centres(3, stride)
    points = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).view(1, -1, 2)
    queries = sample_queries(features, points, stride)
    assert queries.shape == (1, 12, 3)
    torch.testing.assert_close(queries[0], features.flatten(2)[0].T, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("x", "y", "weights"),
    [
        (13.5, 6.5, {(0, 0): 0.5, (0, 1): 0.5}),  # half way between the first two patches of 14
        (10.0, 6.5, {(0, 0): 0.75, (0, 1): 0.25}),
        (6.5, 17.0, {(0, 0): 0.25, (1, 0): 0.75}),
        (27.5, 13.5, {(0, 1): 0.25, (0, 2): 0.25, (1, 1): 0.25, (1, 2): 0.25}),
        (0.0, 0.0, {(0, 0): 1.0}),  # before the first centre: clamped
        (-40.0, 500.0, {(2, 0): 1.0}),
        (55.0, 20.5, {(1, 3): 1.0}),
    ],
)
def test_between_centres_it_is_bilinear_and_beyond_them_clamped(
    x: float, y: float, weights: dict[tuple[int, int], float]
) -> None:
    features = plane()
    expected = sum(weight * features[0, :, i, j] for (i, j), weight in weights.items())
    expected = expected / expected.norm()
    query = sample_queries(features, torch.tensor([[[x, y]]], dtype=torch.float64), 14)[0, 0]
    torch.testing.assert_close(query, expected, rtol=0, atol=1e-12)


def test_every_map_of_a_batch_has_its_own_points() -> None:
    features = torch.cat((plane(), plane().flip(-1)))
    points = torch.tensor([[[6.5, 6.5]], [[6.5, 6.5]]], dtype=torch.float64)
    queries = sample_queries(features, points, 14)
    torch.testing.assert_close(queries[0, 0], features[0, :, 0, 0])
    torch.testing.assert_close(queries[1, 0], features[0, :, 0, 3])


def test_normalised_at_every_location() -> None:
    features = torch.randn(2, 5, 3, 4) * 100
    torch.testing.assert_close(normalise(features).norm(dim=1), torch.ones(2, 3, 4))
    torch.testing.assert_close(normalise(features) * features.norm(dim=1, keepdim=True), features)


def test_a_query_is_normalised_again_after_it_is_sampled() -> None:
    """Between two unit vectors 0.1 rad apart the mean is shorter than 1."""
    query = sample_queries(plane(), torch.tensor([[[13.5, 6.5]]], dtype=torch.float64), 14)[0, 0]
    assert query.norm().item() == pytest.approx(1, abs=1e-12)
    assert math.atan2(query[1], query[0]) == pytest.approx(0.05, abs=1e-12)


def test_similarity_is_the_cosine_with_every_location() -> None:
    queries = normalise(torch.randn(2, 5, 6, 1)).squeeze(-1).transpose(1, 2)  # (2, 6, 5)
    targets = normalise(torch.randn(2, 5, 3, 4))
    maps = similarity(queries, targets)
    assert maps.shape == (2, 6, 3, 4)
    assert maps[1, 4, 2, 3].item() == pytest.approx(float(queries[1, 4] @ targets[1, :, 2, 3]), abs=1e-6)
    assert maps.abs().max() <= 1 + 1e-6
    torch.testing.assert_close(similarity(queries[0], targets[0]), maps[0])


def test_gradients_reach_the_features() -> None:
    features = torch.randn(1, 5, 3, 4, requires_grad=True)
    maps = normalise(features)
    queries = sample_queries(maps, torch.tensor([[[20.0, 20.0]]]), 14)
    similarity(queries, maps).square().sum().backward()
    assert features.grad is not None
    assert (features.grad.flatten(2).norm(dim=1) > 0).all()

"""The argmax over pixels against the features themselves, brought to the image's size by torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from peftcorr.matching import PREDICTORS, upsampled
from peftcorr.matching.similarity import sample_queries, similarity
from peftcorr.matching.upsampled import (
    UpsampledArgmax,
    interpolation,
    neighbour_products,
    squared_length,
)


def features(height: int, width: int, seed: int = 0, channels: int = 5) -> Tensor:
    """A normalised map (C, h, w) whose neighbours look in very different directions."""
    raw = torch.randn(
        (channels, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return functional.normalize(raw, dim=0)


def queries(count: int, channels: int = 5) -> Tensor:
    raw = torch.randn((count, channels), generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return functional.normalize(raw, dim=1)


def brute(wanted: Tensor, target: Tensor, stride: int) -> Tensor:
    """Cosine of each query with every pixel's own interpolated feature, (M, H, W)."""
    size = (target.shape[1] * stride, target.shape[2] * stride)
    pixels = functional.interpolate(target[None], size=size, mode="bilinear", align_corners=False)[0]
    maps = torch.empty((len(wanted), *size), dtype=torch.float64)
    for row in range(size[0]):
        for column in range(size[1]):
            feature = pixels[:, row, column]
            maps[:, row, column] = wanted @ (feature / feature.norm())
    return maps


def predict(wanted: Tensor, target: Tensor, stride: int) -> Tensor:
    predictor = UpsampledArgmax(UpsampledArgmax.Config())
    of_target = predictor.for_target(target.permute(1, 2, 0).float().contiguous())
    return of_target.predict(similarity(wanted, target).float(), stride)


@pytest.mark.parametrize(
    ("height", "width", "stride"), [(4, 4, 8), (3, 6, 5), (5, 2, 3), (1, 4, 7), (1, 1, 6)]
)
def test_the_best_pixel_is_the_one_that_brute_force_finds(height: int, width: int, stride: int) -> None:
    target, wanted = features(height, width), queries(25)
    maps = brute(wanted, target, stride)
    found = predict(wanted, target, stride)
    flat = maps.flatten(1)
    index = (flat >= flat.amax(1, keepdim=True) - 1e-9).int().argmax(1)  # the first of equal ones
    expected = torch.stack((index % (width * stride), index // (width * stride)), -1)
    assert found.dtype == torch.float64
    assert torch.equal(found, expected.double())


def test_the_cosine_of_an_interpolated_feature_is_no_interpolated_cosine() -> None:
    """The second would be found by a peak of the interpolated similarity map, which is always at a cell."""
    target, wanted, stride = features(4, 4), queries(25), 8
    size = (4 * stride, 4 * stride)
    maps = functional.interpolate(
        similarity(wanted, target)[None], size=size, mode="bilinear", align_corners=False
    )[0]
    index = maps.flatten(1).argmax(1)
    plain = torch.stack((index % size[1], index // size[1]), -1).double()
    apart = (predict(wanted, target, stride) - plain).norm(dim=1)
    assert (apart > stride).any()


def test_a_pixel_is_sampled_as_a_query_is() -> None:
    """A query taken from a pixel of the target itself is found there: pixel x of the map is pixel x of the input."""
    target, stride = features(5, 6, channels=16), 4
    points = torch.tensor([[9.0, 4.0], [2.0, 3.0], [21.0, 17.0], [12.0, 13.0]], dtype=torch.float64)
    wanted = sample_queries(target[None], points[None], stride)[0]
    assert torch.equal(predict(wanted, target, stride), points)


def test_the_length_of_an_interpolated_feature_follows_from_the_products() -> None:
    target, stride = features(4, 6), 5
    pixels = functional.interpolate(target[None], size=(20, 30), mode="bilinear", align_corners=False)[0]
    down, across = (interpolation(count, count * stride).double() for count in (4, 6))
    found = squared_length(neighbour_products(target.permute(1, 2, 0)), down, across)
    assert (found - pixels.norm(dim=0) ** 2).abs().max() < 1e-6


@pytest.mark.parametrize("budget", [1, 300, 1 << 20])
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    target, wanted = features(4, 6), queries(40)
    expected = predict(wanted, target, 6)
    monkeypatch.setattr(upsampled, "_CHUNK_BYTES", budget)
    assert torch.equal(predict(wanted, target, 6), expected)


def test_nothing_as_large_as_an_upsampled_map_of_every_query_is_held() -> None:
    """300 maps of 256 x 256 pixels would be 79 MB; nothing beyond the budget of 2 MB is made at once."""
    from torch.autograd.profiler import profile

    maps = torch.rand(300, 16, 16)
    of_target = UpsampledArgmax(UpsampledArgmax.Config()).for_target(torch.rand(16, 16, 5))
    with profile(profile_memory=True) as watched:
        of_target.predict(maps, 16)
    assert 1 << 20 < max(event.self_cpu_memory_usage for event in watched.function_events) <= 2 << 20


def test_of_equal_pixels_the_first_is_taken() -> None:
    of_target = UpsampledArgmax(UpsampledArgmax.Config()).for_target(torch.ones(3, 4, 1))
    assert of_target.predict(torch.full((2, 3, 4), 0.5), 4).tolist() == [[0, 0], [0, 0]]


def test_a_feature_of_nothing_is_never_the_peak() -> None:
    target = features(3, 3)
    target[:, 0, 0] = 0
    found = predict(queries(10), target, 4)
    assert torch.isfinite(found).all()


def test_any_number_of_maps_at_once() -> None:
    predictor = UpsampledArgmax(UpsampledArgmax.Config()).for_target(torch.rand(3, 4, 5))
    maps = torch.rand(2, 5, 3, 4)
    points = predictor.predict(maps, 4)
    assert points.shape == (2, 5, 2)
    assert torch.equal(points[1, 2], predictor.predict(maps[1, 2], 4))
    assert predictor.predict(maps[0, :0], 4).shape == (0, 2)


def test_similarity_maps_alone_are_not_enough() -> None:
    assert "upsampled_argmax" in PREDICTORS.names()
    with pytest.raises(TypeError, match="for_target"):
        UpsampledArgmax(UpsampledArgmax.Config()).predict(torch.rand(2, 3, 3), 4)

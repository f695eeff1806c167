"""DINOv2 of transformers and of timm give the same features: the benchmark's own comparison, narrower."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.backbones.parity import parity
from tests.small_models import Small


@pytest.fixture(scope="module")
def dinov2() -> ModuleType:
    return parity("dinov2")


@pytest.mark.parametrize(
    ("size", "interpolated_by"), [(32, "each"), (64, "transformers"), (24, "transformers")]
)
def test_same_weights_same_features(dinov2: ModuleType, size: int, interpolated_by: str) -> None:
    state = dinov2.random_state(Small)
    assert dinov2.relative_error(*dinov2.pair(Small, state, size, interpolated_by), size) <= dinov2.BOUND


@pytest.mark.parametrize("size", [24, 64])
def test_each_library_interpolates_in_its_own_way(dinov2: ModuleType, size: int) -> None:
    """Should this fail, one of them has changed, and the benchmark's text with it."""
    state = dinov2.random_state(Small)
    assert dinov2.relative_error(*dinov2.pair(Small, state, size), size) > 10 * dinov2.BOUND


def test_the_comparison_sees_one_weight(dinov2: ModuleType) -> None:
    state = dinov2.random_state(Small)
    one, other = dinov2.pair(Small, state, 32)
    other.get_parameter("model.blocks.2.ls2.gamma").data[0] += 0.1
    assert dinov2.relative_error(one, other, 32) > dinov2.BOUND

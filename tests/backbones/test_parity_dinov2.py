"""DINOv2 of transformers and of timm give the same features: the benchmark's own comparison, narrower."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.small_models import Small

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def parity() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "parity_dinov2", ROOT / "benchmarks" / "parity" / "dinov2.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("size", "interpolated_by"), [(32, "each"), (64, "transformers"), (24, "transformers")]
)
def test_same_weights_same_features(parity: ModuleType, size: int, interpolated_by: str) -> None:
    state = parity.random_state(Small)
    assert parity.relative_error(*parity.pair(Small, state, size, interpolated_by), size) <= parity.BOUND


@pytest.mark.parametrize("size", [24, 64])
def test_each_library_interpolates_in_its_own_way(parity: ModuleType, size: int) -> None:
    """Should this fail, one of them has changed, and the benchmark's text with it."""
    state = parity.random_state(Small)
    assert parity.relative_error(*parity.pair(Small, state, size), size) > 10 * parity.BOUND


def test_the_comparison_sees_one_weight(parity: ModuleType) -> None:
    state = parity.random_state(Small)
    one, other = parity.pair(Small, state, 32)
    other.get_parameter("model.blocks.2.ls2.gamma").data[0] += 0.1
    assert parity.relative_error(one, other, 32) > parity.BOUND

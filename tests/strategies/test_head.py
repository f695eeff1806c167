"""The projection on frozen features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from peftcorr.errors import PeftCorrError
from peftcorr.strategies.base import apply_checked
from tests.small_models import Small, build, images
from tests.strategies.adapting import adapt, take_steps


@pytest.mark.parametrize(
    "options", [{}, {"hidden": 16}, {"channels": 8}, {"hidden": 16, "channels": 8}], ids=str
)
def test_it_projects_each_cell(small_weights: Path, options: dict[str, Any]) -> None:
    """By hand on the frozen features; the sum with them where the width stays."""
    backbone, strategy = adapt(small_weights, "head", **options)
    take_steps(backbone)
    own = {key.removeprefix("head.layers."): tensor for key, tensor in strategy.state_dict(backbone).items()}
    with torch.no_grad():
        frozen = build(Small, small_weights).features(images()).movedim(1, -1)
        expected = frozen @ own["0.weight"][:, :, 0, 0].T + own["0.bias"]
        if "hidden" in options:
            expected = nn.functional.gelu(expected) @ own["2.weight"][:, :, 0, 0].T + own["2.bias"]
        if "channels" not in options:
            expected = frozen + expected
        features = backbone.features(images())
    torch.testing.assert_close(features.movedim(1, -1), expected, rtol=1e-5, atol=1e-5)
    assert backbone.channels == features.shape[1] == options.get("channels", 32)


def test_the_frozen_prefix_is_the_whole_backbone(small_weights: Path) -> None:
    backbone, strategy = adapt(small_weights, "head", channels=8)
    assert strategy.first_trainable_block(backbone) == len(backbone.blocks())
    assert strategy.state_dict(backbone).keys() == {"head.layers.0.weight", "head.layers.0.bias"}
    assert strategy.expected_parameters(backbone) == 32 * 8 + 8  # of the frozen features, not of the new ones


@pytest.mark.parametrize("hidden", [None, 16])
def test_the_start_is_exact_in_reduced_precision_too(small_weights: Path, hidden: int | None) -> None:
    backbone, _ = adapt(small_weights, "head", hidden=hidden)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        plain, features = build(Small, small_weights).features(images()), backbone.features(images())
    assert torch.equal(features, plain)
    assert features.dtype == torch.float32


def test_one_head_only(small_weights: Path) -> None:
    backbone, strategy = adapt(small_weights, "head")
    with pytest.raises(PeftCorrError, match="finds a head on this backbone already"):
        apply_checked(strategy, backbone)

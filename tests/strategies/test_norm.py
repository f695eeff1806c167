"""Norm tuning: every kind of norm layer, and no other layer."""

from __future__ import annotations

from pathlib import Path

import pytest
from segment_anything.modeling.common import LayerNorm2d
from timm.layers import BatchNormAct2d, GroupNorm1, RmsNorm
from timm.layers import LayerNorm2d as TimmLayerNorm2d
from torch import nn

from peftcorr.strategies.pretrained import norm_parameters
from tests.strategies.adapting import adapt


def test_the_norms_of_the_chosen_blocks(small_weights: Path) -> None:
    backbone, strategy = adapt(small_weights, "norm", blocks=[-1])
    assert strategy.state_dict(backbone).keys() == {
        f"model.{norm}.{what}"
        for norm in ("encoder.layer.2.norm1", "encoder.layer.2.norm2", "layernorm")
        for what in ("weight", "bias")
    }
    assert backbone.trainable_parameters() == 6 * 32
    assert strategy.first_trainable_block(backbone) == 2


@pytest.mark.parametrize(
    ("layer", "count"),
    [
        (nn.LayerNorm(8), 2), (nn.GroupNorm(2, 8), 2), (nn.BatchNorm2d(8), 2), (nn.RMSNorm(8), 1),
        (LayerNorm2d(8), 2), (TimmLayerNorm2d(8), 2), (BatchNormAct2d(8), 2), (GroupNorm1(8), 2), (RmsNorm(8), 1),
        (nn.Linear(8, 8), 0), (nn.Conv2d(8, 8, 1), 0), (nn.LayerNorm(8, elementwise_affine=False), 0),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_counts_as_a_norm(layer: nn.Module, count: int) -> None:
    assert len(norm_parameters(nn.Sequential(layer))) == count

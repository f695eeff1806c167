"""SSF: what it computes after each kind of layer, and that it merges exactly."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from peftcorr.backbones.dinov2 import Dinov2
from peftcorr.errors import PeftCorrError
from peftcorr.strategies.base import apply_checked
from peftcorr.strategies.ssf import Ssf
from tests.small_models import FAMILY, Small, build, images
from tests.strategies.adapting import adapt, take_steps
from tests.strategies.convolutional import Convolutional


def test_each_layer_is_scaled_and_shifted(small_weights: Path) -> None:
    backbone, strategy = adapt(small_weights, "ssf", blocks=[0])
    assert backbone.trainable_parameters() == 22 * 32
    take_steps(backbone)
    block = backbone.blocks()[0]
    for name, width in (("attention.k_proj", 32), ("mlp.fc1", 128), ("norm2", 32)):
        layer, own = (block.get_submodule(n) for n in (name, "ssf_" + name.replace(".", "_")))
        stream, inputs = torch.randn(2, 5, 32), 32
        assert own.scale.shape == own.shift.shape == (width,)
        with torch.no_grad():
            if isinstance(layer, nn.Linear):
                plain = stream @ layer.weight.T + layer.bias
            else:
                plain = nn.functional.layer_norm(stream, (inputs,), layer.weight, layer.bias, layer.eps)
            torch.testing.assert_close(layer(stream), own.scale * plain + own.shift, rtol=1e-5, atol=1e-5)
    assert strategy.first_trainable_block(backbone) == 0


@pytest.mark.parametrize("cls", FAMILY, ids=lambda cls: cls.__name__)
def test_merged_features_are_the_same(family_weights: dict[type[Dinov2], Path], cls: type[Dinov2]) -> None:
    backbone, strategy = adapt(family_weights[cls], "ssf", cls)
    take_steps(backbone)
    twin = copy.deepcopy(backbone)
    with torch.no_grad():
        before, plain = backbone.features(images()), build(cls, family_weights[cls])
        assert not torch.allclose(before, plain.features(images()), atol=1e-2)
        for merged in (backbone, twin):
            strategy.merge(merged)
            torch.testing.assert_close(merged.features(images()), before, rtol=0, atol=1e-5)
            assert merged.state_dict().keys() == plain.state_dict().keys()


def test_convolutions_and_norms_over_the_second_axis() -> None:
    """Every layer by hand; a convolution without a bias gets one."""
    backbone, strategy = Convolutional(), Ssf(Ssf.Config())
    with torch.no_grad():
        plain = backbone.features(images())
        apply_checked(strategy, backbone)
        assert torch.equal(backbone.features(images()), plain)
        assert backbone.trainable_parameters() == 2 * 2 * (8 + 8)
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
        convolution, own = backbone.stages[1].convolution, backbone.stages[1].ssf_convolution
        features = torch.randn(1, 8, 4, 4)
        expected = nn.functional.conv2d(features, convolution.weight, None, padding=1)
        expected = own.scale[:, None, None] * expected + own.shift[:, None, None]
        torch.testing.assert_close(convolution(features), expected)
        before = backbone.features(images())
        assert not torch.allclose(before, plain, atol=1e-2)
        strategy.merge(backbone)
        torch.testing.assert_close(backbone.features(images()), before, rtol=0, atol=1e-5)
    assert convolution.bias is not None
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


@pytest.mark.parametrize("norm", [nn.RMSNorm(8), BatchNormAct2d(8)], ids=lambda n: type(n).__name__)
def test_what_cannot_be_merged_leaves_all_as_it_was(norm: nn.Module) -> None:
    """RMSNorm has no bias, and behind an activation a factor cannot be pulled before it."""
    backbone, strategy = Convolutional(nn.GroupNorm(2, 8), norm), Ssf(Ssf.Config())
    apply_checked(strategy, backbone)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with pytest.raises(PeftCorrError, match=f"no exact merge into {type(norm).__name__}"):
        strategy.merge(backbone)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


def test_a_backbone_without_it_has_nothing_to_merge(small_weights: Path) -> None:
    with pytest.raises(PeftCorrError, match="carries no SSF"):
        Ssf(Ssf.Config()).merge(build(Small, small_weights))


def test_a_block_that_is_a_row_does_not_run_what_is_injected() -> None:
    torch.manual_seed(0)
    row, pictures = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU()), torch.randn(2, 8, 4, 4)
    backbone, expected = Convolutional(), row(pictures)
    backbone.stages[0] = row
    Ssf(Ssf.Config()).apply(backbone)
    assert len(row) == 3
    assert torch.equal(row(pictures), expected)
    row.get_submodule("ssf_0").get_parameter("shift").data.fill_(0.5)
    assert torch.equal(row(pictures), torch.relu(row[0](pictures)))
    assert not torch.equal(row(pictures), expected)

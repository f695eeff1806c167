"""Each injected module computes what its paper says, written out again beside it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from peftcorr.backbones.dinov2 import Dinov2
from tests.small_models import images
from tests.strategies.adapting import adapt, take_steps


def own_block(backbone: Dinov2, tokens: Tensor, attention_adapter=None, mlp_adapter=None, parallel=None):  # type: ignore[no-untyped-def]
    """DINOv2's last block by hand, with a place for each adapter."""
    block = backbone.blocks()[-1]
    attended = block.attention(block.norm1(tokens))
    attended = (attended[0] if isinstance(attended, tuple) else attended) * block.layer_scale1.lambda1
    stream = tokens + (attention_adapter(attended) if attention_adapter else attended)
    wide = block.mlp(block.norm2(stream)) * block.layer_scale2.lambda1
    wide = mlp_adapter(wide) if mlp_adapter else wide
    return stream + wide + (parallel(stream) if parallel else 0)


def bottleneck(module: nn.Module, tokens: Tensor, activation) -> Tensor:  # type: ignore[no-untyped-def]
    down, up = module.get_submodule("down"), module.get_submodule("up")
    return activation(tokens @ down.weight.T + down.bias) @ up.weight.T + up.bias


def test_adapter(small_weights: Path) -> None:
    backbone, _ = adapt(small_weights, "adapter", init_std=0.1)
    take_steps(backbone)
    block = backbone.blocks()[-1]
    gelu = nn.functional.gelu
    with torch.no_grad():
        tokens = backbone.prefix(images(), 2).tokens
        expected = own_block(
            backbone,
            tokens,
            lambda y: y + bottleneck(block.attention_adapter, y, gelu),
            lambda y: y + bottleneck(block.mlp_adapter, y, gelu),
        )
        torch.testing.assert_close(block(tokens), expected, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(own_block(backbone, tokens), expected, atol=1e-2)


def test_adaptformer(small_weights: Path) -> None:
    backbone, _ = adapt(small_weights, "adaptformer", scale=0.5)
    take_steps(backbone)
    block = backbone.blocks()[-1]
    with torch.no_grad():
        tokens = backbone.prefix(images(), 2).tokens
        expected = own_block(
            backbone, tokens, parallel=lambda x: 0.5 * bottleneck(block.adaptformer, x, torch.relu)
        )
        torch.testing.assert_close(block(tokens), expected, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(own_block(backbone, tokens), expected, atol=1e-3)


def test_lora(small_weights: Path) -> None:
    """Each target is W x + b + (alpha / rank) B A x."""
    backbone, strategy = adapt(small_weights, "lora", rank=4, alpha=12)
    take_steps(backbone)
    own = strategy.state_dict(backbone)
    stream = torch.randn(3, 32)
    for name in ("model.encoder.layer.0.attention.q_proj", "model.encoder.layer.2.attention.v_proj"):
        layer = backbone.get_submodule(name)
        a, b = (own[f"{name}.lora_{side}.default.weight"] for side in "AB")
        base = layer.get_base_layer()
        with torch.no_grad():
            expected = stream @ base.weight.T + base.bias + 3 * stream @ a.T @ b.T
            torch.testing.assert_close(layer(stream), expected, rtol=1e-5, atol=1e-5)
    assert isinstance(backbone.get_submodule("model.encoder.layer.0.attention.k_proj"), nn.Linear)


def test_initialisations(small_weights: Path) -> None:
    """LoRA's A and AdaptFormer's down are Kaiming-uniform; B and up are zero; Houlsby's are truncated at two sigma."""
    _, lora = found = adapt(small_weights, "lora")
    for name, tensor in lora.state_dict(found[0]).items():
        if "lora_B" in name:
            assert not tensor.any()
        else:
            assert 0.8 * 32**-0.5 < tensor.abs().max() <= 32**-0.5  # bound 1 / sqrt(fan in) at a = sqrt(5)
    _, adaptformer = found = adapt(small_weights, "adaptformer")
    for name, tensor in adaptformer.state_dict(found[0]).items():
        assert bool(tensor.any()) == name.endswith("down.weight")
    _, adapter = found = adapt(small_weights, "adapter", init_std=1e-2)
    for name, tensor in adapter.state_dict(found[0]).items():
        if name.endswith("weight"):
            assert tensor.abs().max() <= 2e-2
            assert 0.8e-2 < tensor.std() < 0.95e-2  # a normal cut at two sigma has 0.88 of its deviation
        else:
            assert not tensor.any()

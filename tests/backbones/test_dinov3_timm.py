"""DINOv3's vision transformers against timm's, which are another implementation: shapes, counts and features."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm

from peftcorr.backbones import BACKBONES
from peftcorr.backbones.dinov3 import Dinov3ViT, Dinov3ViTS16, Dinov3ViTS16Plus
from tests.backbones.parity import parity


@pytest.mark.parametrize(
    ("size", "timm_name", "total"),
    [
        ("s16", "vit_small_patch16_dinov3_qkvb", 21_596_160),
        ("s16plus", "vit_small_plus_patch16_dinov3_qkvb", 28_692_480),
        ("b16", "vit_base_patch16_dinov3_qkvb", 85_659_648),
        ("l16", "vit_large_patch16_dinov3_qkvb", 303_128_576),
        ("h16plus", "vit_huge_plus_patch16_dinov3_qkvb", 840_591_360),
        ("7b16", "vit_7b_patch16_dinov3", 6_716_030_976),
    ],
)
def test_published_shapes_are_those_of_timm(size: str, timm_name: str, total: int) -> None:
    """timm's have no mask token either; ``qkvb`` are its variants with the biases of queries and values."""
    named = BACKBONES.get(f"dinov3_vit{size}")
    backbone = named.build(named.Config(), None)
    assert isinstance(backbone, Dinov3ViT)
    reference = timm.create_model(timm_name, device="meta")
    block, shape = reference.blocks[0], backbone.model.config
    assert backbone.total_parameters() == total == sum(p.numel() for p in reference.parameters())
    assert shape.hidden_size == reference.embed_dim
    assert shape.num_hidden_layers == len(reference.blocks)
    assert shape.num_attention_heads == block.attn.num_heads
    assert shape.intermediate_size == block.mlp.fc2.in_features
    assert shape.use_gated_mlp == hasattr(block.mlp, "fc1_g")
    assert shape.query_bias == shape.value_bias == (block.attn.q_bias is not None)
    assert backbone.leading_tokens == reference.num_prefix_tokens
    assert (shape.patch_size,) * 2 == reference.patch_embed.patch_size
    assert shape.layer_norm_eps == reference.norm.eps
    assert shape.rope_theta == reference.rope.temperature


class ShortS16(Dinov3ViTS16):
    variant = replace(Dinov3ViTS16.variant, depth=3)


class ShortS16Plus(Dinov3ViTS16Plus):
    variant = replace(Dinov3ViTS16Plus.variant, depth=3)


@pytest.mark.parametrize(
    ("cls", "timm_name"),
    [
        (Dinov3ViTS16, "vit_small_patch16_dinov3_qkvb"),
        (ShortS16, "vit_small_patch16_dinov3"),
        (ShortS16Plus, "vit_small_plus_patch16_dinov3_qkvb"),
    ],
    ids=["biases", "no biases", "gated"],
)
def test_features_are_those_of_timm(cls: type[Dinov3ViT], timm_name: str) -> None:
    """Another implementation with the same weights: ViT-S whole, and three layers of its variants. timm's plain one
    has no biases of q and v, because the published ones are zero.
    """
    assert parity("dinov3").relative_error(cls, timm_name, 64, 96) <= 1e-4

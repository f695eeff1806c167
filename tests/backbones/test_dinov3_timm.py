"""DINOv3's vision transformers against timm's, which are another implementation: shapes, counts and features."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
from torch import Tensor, nn

from peftcorr.backbones import BACKBONES
from peftcorr.backbones.dinov3 import Dinov3ViT, Dinov3ViTS16, Dinov3ViTS16Plus


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


def random_weights(model: nn.Module) -> None:
    """Random, and of a gain near one, so that twelve full-size layers neither vanish nor saturate."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("lambda1") or ("norm" in name and name.endswith("weight")):
                parameter.copy_(0.5 + torch.rand_like(parameter))
            elif parameter.ndim > 1:
                parameter.copy_(torch.randn_like(parameter) / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(0.2 * torch.randn_like(parameter))


class ShortS16(Dinov3ViTS16):
    variant = replace(Dinov3ViTS16.variant, depth=3)


class ShortS16Plus(Dinov3ViTS16Plus):
    variant = replace(Dinov3ViTS16Plus.variant, depth=3)


TIMM_NAMES = {
    "embeddings.cls_token": "cls_token",
    "embeddings.register_tokens": "reg_token",
    "embeddings.patch_embeddings": "patch_embed.proj",
    "model.layer": "blocks",
    "attention.o_proj": "attn.proj",
    "layer_scale1.lambda1": "gamma_1",
    "layer_scale2.lambda1": "gamma_2",
    "mlp.down_proj": "mlp.fc2",
}


def timm_state(model: nn.Module, gated: bool) -> dict[str, Tensor]:
    """The weights of transformers' model under timm's names, with one matrix for q, k and v."""
    names = TIMM_NAMES | {"mlp.gate_proj": "mlp.fc1_g", "mlp.up_proj": "mlp.fc1_x" if gated else "mlp.fc1"}
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        for old, new in names.items():
            name = name.replace(old, new)
        name = name.replace("attention.q_proj.bias", "attn.q_bias")
        state[name.replace("attention.v_proj.bias", "attn.v_bias")] = tensor
    for key in [key for key in state if key.endswith("q_proj.weight")]:
        parts = [state.pop(key.replace("q_proj", f"{part}_proj")) for part in "qkv"]
        state[key.replace("attention.q_proj", "attn.qkv")] = torch.cat(parts)
    return state


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
    model_class, config = cls.architecture()
    model = model_class(config)
    random_weights(model)
    backbone = cls(cls.Config(), model).eval()
    state = timm_state(backbone.model, cls.variant.gated_mlp)
    if not timm_name.endswith("qkvb"):
        for name in [name for name in state if name.endswith(("q_bias", "v_bias"))]:
            state.pop(name)
        for layer in backbone.model.model.layer:
            layer.attention.q_proj.bias.zero_()
            layer.attention.v_proj.bias.zero_()
    reference = timm.create_model(timm_name, depth=cls.variant.depth).eval()
    reference.load_state_dict(state)
    pictures = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = reference.forward_features(pictures)[:, reference.num_prefix_tokens :]
        features = backbone.features(pictures).flatten(2).transpose(1, 2)
    assert features.std() > 0.1
    assert (features - expected).norm() / expected.norm() <= 1e-4

"""Plain transformers of timm: the contract of every backbone, against timm's own forward."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from peftcorr.backbones import BACKBONES
from peftcorr.errors import PeftCorrError
from peftcorr.strategies import STRATEGIES
from peftcorr.strategies.base import apply_checked
from tests.backbones.timm.timm_models import PLAIN, SERIAL, load, reference, save
from tests.small_models import images


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("timm")
    return {name: save(f"small_{name}", root / name) for name in PLAIN}


@pytest.fixture(params=PLAIN)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def loaded(folders: dict[str, Path]) -> dict[str, Any]:
    return {name: load(f"small_{name}", folder) for name, folder in folders.items()}


@pytest.fixture
def backbone(name: str, loaded: dict[str, Any]) -> Any:
    return copy.deepcopy(loaded[name])


def adapted(backbone: Any, strategy: str, **options: Any) -> Any:
    made = STRATEGIES.get(strategy)
    applied = made(made.Config(**options))
    torch.manual_seed(3)
    apply_checked(applied, backbone)
    return applied


def test_every_block_is_a_place_to_cut(backbone: Any) -> None:
    pictures = images()
    with torch.no_grad():
        whole = backbone.features(pictures)
        assert whole.shape == (2, 32, 4, 4)
        for k in range(len(backbone.blocks()) + 1):
            state = backbone.prefix(pictures, k)
            assert torch.equal(backbone.suffix(state, k), whole), f"block {k}"


@pytest.mark.parametrize("shape", [(32, 32), (48, 48), (24, 40)])
def test_features_are_those_of_timm(name: str, backbone: Any, shape: tuple[int, int]) -> None:
    """Patch tokens of ``forward_features``; at another size, of the model as timm makes it for that size."""
    model = reference(f"small_{name}")
    if shape != (32, 32):
        model.set_input_size(shape)
    pictures = torch.randn(2, 3, *shape)
    with torch.no_grad():
        tokens = model.forward_features(pictures)[:, model.num_prefix_tokens :]
        features = backbone.features(pictures)
    assert features.shape[-2:] == (shape[0] // 8, shape[1] // 8)
    torch.testing.assert_close(features.flatten(2).transpose(1, 2), tokens, rtol=1e-4, atol=1e-5)


def test_an_earlier_layer_is_timms_intermediate(name: str, backbone: Any, folders: dict[str, Path]) -> None:
    cut, model = load(f"small_{name}", folders[name], layer=2), reference(f"small_{name}")
    with torch.no_grad():
        [expected] = model.forward_intermediates(images(), indices=[1], norm=True, intermediates_only=True)
        torch.testing.assert_close(cut.features(images()), expected, rtol=1e-4, atol=1e-5)
    assert len(cut.blocks()) == len(cut.sites()) == 2
    frequencies = 2 * 2 * 8 if name == "mixed" else 0  # of each block: 2 axes, 2 heads, 8 of each
    assert (
        cut.total_parameters() == backbone.total_parameters() - backbone.sites()[2].parameters - frequencies
    )


def test_no_parameter_is_dead_and_none_is_trained_unasked(backbone: Any) -> None:
    assert backbone.trainable_parameters() == 0
    backbone.requires_grad_(True)
    backbone.features(images()).square().sum().backward()
    assert [key for key, parameter in backbone.named_parameters() if parameter.grad is None] == []


def test_training_mode_changes_nothing(backbone: Any) -> None:
    """Drop path, dropout and DINOv3's random positions are off, though the models are made with them."""
    with torch.no_grad():
        still = backbone.features(images())
        assert torch.equal(backbone.train().features(images()), still)


@pytest.mark.parametrize("name", SERIAL)
def test_sites_are_where_the_residual_stream_is_read_and_added_to(backbone: Any) -> None:
    for k, site in enumerate(backbone.sites()):
        seen: dict[str, Tensor] = {}

        def keep(role: str, seen: dict[str, Tensor] = seen) -> Any:
            return lambda module, inputs, output: seen.update({f"{role} in": inputs[0], role: output})

        places = {
            "block": site.block, "attention": site.attention_output, "mlp": site.mlp_output, "norm2": site.norm2,
        }  # fmt: skip
        handles = [
            backbone.get_submodule(at).register_forward_hook(keep(role)) for role, at in places.items()
        ]
        with torch.no_grad():
            backbone.features(images())
        for handle in handles:
            handle.remove()
        assert backbone.get_submodule(site.block) is backbone.blocks()[k]
        assert torch.equal(seen["norm2 in"], seen["block in"] + seen["attention"])
        assert torch.equal(seen["block"], seen["norm2 in"] + seen["mlp"])


def test_sites_name_every_linear_layer_of_a_block(backbone: Any) -> None:
    for site in backbone.sites():
        named = [layer for layers in site.linears.values() for layer in layers]
        block = backbone.get_submodule(site.block)
        real = {
            f"{site.block}.{layer}"
            for layer, module in block.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
        assert sorted(named) == sorted(real)
        assert site.parameters == sum(parameter.numel() for parameter in block.parameters())


@pytest.mark.parametrize("strategy", ["frozen", "last_k", "lora", "adaptformer"])
@pytest.mark.parametrize("name", SERIAL)
def test_strategies_start_bit_equal(backbone: Any, strategy: str) -> None:
    with torch.no_grad():
        plain = backbone.features(images())
        adapted(backbone, strategy, **({"dropout": 0.5} if strategy == "adaptformer" else {}))
        assert torch.equal(backbone.eval().features(images()), plain)
        assert torch.equal(backbone.train().features(images()), plain)


@pytest.mark.parametrize("name", SERIAL)
def test_adapter_starts_near_the_identity_and_trains(backbone: Any) -> None:
    with torch.no_grad():
        plain = backbone.features(images())
    adapted(backbone, "adapter", bottleneck=8)
    features = backbone.train().features(images())
    assert 0 < ((features - plain).norm() / plain.norm()).item() < 1e-2
    features.square().sum().backward()
    assert all(p.grad is not None for p in backbone.parameters() if p.requires_grad)


D = 32


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("vit", 12 * D * D + 13 * D),
        ("scaled", 12 * D * D + 15 * D),
        ("registers", 12 * D * D + 13 * D),
        ("dinov3", 12 * D * D + 14 * D),  # LayerScale, and keys without a bias
        ("mixed", 12 * D * D + 15 * D),
        ("post", 12 * D * D + 13 * D),
        ("parallel", 2 * (12 * D * D + 13 * D)),
    ],
)
def test_closed_forms(backbone: Any, block: int) -> None:
    assert [site.parameters for site in backbone.sites()] == [block] * 3
    strategy = adapted(backbone, "last_k", k=2)
    norm = 0 if backbone.final_norm() is None else 2 * D
    assert backbone.trainable_parameters() == strategy.expected_parameters(backbone) == 2 * block + norm


@pytest.mark.parametrize(
    ("strategy", "count"),
    [("lora", 4 * 8 * D * 3), ("adapter", 3 * 2 * (2 * D * 64 + 64 + D)), ("adaptformer", 3 * (2 * D * 64 + 64 + D))],
)  # fmt: skip
@pytest.mark.parametrize("name", SERIAL)
def test_counts(backbone: Any, strategy: str, count: int) -> None:
    adapted(backbone, strategy)
    assert backbone.trainable_parameters() == count


@pytest.mark.parametrize("name", ["vit", "dinov3"])
def test_lora_of_q_and_v_is_an_update_of_those_rows_of_the_fused_matrix(name: str, backbone: Any) -> None:
    model = reference(f"small_{name}")
    adapted(backbone, "lora", rank=2, alpha=2)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for index, block in enumerate(model.blocks):
            for role, rows in (("q", slice(0, D)), ("v", slice(2 * D, 3 * D))):
                [layer] = [backbone.get_submodule(layer) for layer in backbone.sites()[index].linears[role]]
                up = layer.lora_B["default"].weight
                up.copy_(torch.randn(up.shape, generator=generator))
                block.attn.qkv.weight[rows] += up @ layer.lora_A["default"].weight
        expected = model.forward_features(images())[:, model.num_prefix_tokens :]
        features = backbone.features(images()).flatten(2).transpose(1, 2)
        unadapted = reference(f"small_{name}").forward_features(images())[:, model.num_prefix_tokens :]
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    assert (features - unadapted).abs().max() > 0.1


@pytest.mark.parametrize(
    ("name", "strategy", "missing"),
    [
        ("post", "adaptformer", "norm2"), ("eva_post", "adaptformer", "norm2"),
        ("parallel", "adapter", "attention_output"),
    ],
)  # fmt: skip
def test_what_a_block_lacks_is_said(backbone: Any, strategy: str, missing: str) -> None:
    with pytest.raises(
        PeftCorrError, match=rf"model\.blocks\.0 of this backbone does not have \({missing}\)"
    ):
        adapted(backbone, strategy)


@pytest.mark.parametrize("name", ["registers", "eva", "dinov3", "mixed"])
def test_prompts_may_follow_the_leading_tokens(name: str, backbone: Any) -> None:
    """Rotary positions stay with the patches: a prompt is one more token without a position."""
    state = backbone.prefix(images(), 1)
    leading = backbone.leading_tokens
    assert leading == {"registers": 5, "eva": 1, "dinov3": 5, "mixed": 1}[name]
    prompts = torch.randn(2, 3, D, generator=torch.Generator().manual_seed(2))
    longer = torch.cat([state.tokens[:, :leading], prompts, state.tokens[:, leading:]], dim=1)
    model = reference(f"small_{name}")
    block, options = model.blocks[1], {}
    if name != "registers":
        rope = model.rope.get_embed(shape=[4, 4])
        options["rope"] = rope[1] if name == "mixed" else rope
        block.attn.num_prefix_tokens += 3
    with torch.no_grad():
        expected = block(longer, **options)
        found = backbone._run(type(state)(longer, 4, 4), 1, 2).tokens
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("vit_small_patch14_dinov2", 22_056_192),  # as transformers' without the mask token
        ("vit_base_patch16_224.augreg_in21k", 86_567_656 - 769_000),
        ("vit_small_patch16_dinov3", 21_586_944),  # 12 (12 D^2 + 12 D), without biases of q, k and v
        ("vit_base_patch16_rope_mixed_224", 85_675_008),
    ],
)  # fmt: skip
def test_published_sizes_without_weights(name: str, total: int) -> None:
    cls = BACKBONES.get(f"timm/{name}")
    backbone = cls.build(cls.Config(), None)
    assert backbone.total_parameters() == total
    assert all(tensor.is_meta for tensor in backbone.parameters())
    size = timm.get_pretrained_cfg(name).input_size[-1]
    assert backbone.config.image_size == size
    features = backbone.features(torch.zeros((1, 3, size, size), device="meta"))
    assert features.shape == (1, backbone.channels, size // backbone.stride, size // backbone.stride)

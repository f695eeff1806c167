"""DINOv3's vision transformers, against transformers' own forward."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import Field
from safetensors import safe_open
from torch import Tensor, nn

from peftcorr.backbones import BACKBONES
from peftcorr.backbones.base import Backbone
from peftcorr.backbones.dinov3 import Dinov3ViT, Dinov3ViTS16, Variant
from peftcorr.backbones.identity import local_weights
from peftcorr.errors import PeftCorrError
from peftcorr.strategies import STRATEGIES
from peftcorr.strategies.base import apply_checked
from tests.small_models import SIZE, images, random_model, save_weights
from tests.strategies.adapting import INJECTED, TRAINED, adapt, take_steps


class Plain(Dinov3ViT):
    """32 wide and 3 deep."""

    class Config(Backbone.Config):
        image_size: int = Field(default=SIZE, gt=0)

    variant = Variant(32, 3, 2, 128, patch=8)


class Gated(Plain):
    """With the gated MLP and the missing biases of ViT-7B, and another number of registers."""

    variant = Variant(32, 3, 2, 64, patch=8, gated_mlp=True, query_value_bias=False, registers=2)


SHAPES = [(32, 32), (24, 40)]


@pytest.fixture(params=(Plain, Gated), ids=lambda cls: cls.__name__)
def cls(request: pytest.FixtureRequest) -> type[Dinov3ViT]:
    made: type[Dinov3ViT] = request.param
    return made


@pytest.fixture
def folder(cls: type[Dinov3ViT], tmp_path: Path) -> Path:
    return save_weights(cls, tmp_path / "weights")


@pytest.fixture
def backbone(cls: type[Dinov3ViT], folder: Path) -> Dinov3ViT:
    return load(cls, folder)


def load(cls: type[Dinov3ViT], folder: Path, **options: Any) -> Dinov3ViT:
    return cls.build(cls.Config(**options), local_weights(folder)).eval()


def as_tokens(features: Tensor) -> Tensor:
    return features.flatten(2).transpose(1, 2)


@pytest.mark.parametrize("shape", SHAPES)
def test_features_are_those_of_transformers(backbone: Dinov3ViT, shape: tuple[int, int]) -> None:
    """Patch tokens after the final norm, in rows and columns, without the class token and the registers."""
    reference = random_model(type(backbone))
    pictures = torch.randn(2, 3, *shape)
    with torch.no_grad():
        tokens = reference(pixel_values=pictures).last_hidden_state
        features = backbone.features(pictures)
    assert tokens.shape[1] == backbone.leading_tokens + shape[0] * shape[1] // 64
    torch.testing.assert_close(
        as_tokens(features), tokens[:, 1 + backbone.variant.registers :], rtol=0, atol=1e-6
    )
    assert features.shape == (2, 32, shape[0] // 8, shape[1] // 8)
    assert features.dtype == torch.float32


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("half", [False, True])
def test_every_block_is_a_place_to_cut(backbone: Dinov3ViT, shape: tuple[int, int], half: bool) -> None:
    """The rotary angles are made anew from the grid on the other side of the cut."""
    pictures = torch.randn(2, 3, *shape)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        whole = backbone.features(pictures)
        for k in range(len(backbone.blocks()) + 1):
            state = backbone.prefix(pictures, k)
            assert (state.height, state.width) == (shape[0] // 8, shape[1] // 8)
            assert torch.equal(backbone.suffix(state, k), whole), f"block {k}"


def test_positions_matter(backbone: Dinov3ViT) -> None:
    """Without rotary angles, moving the picture's patches would only move the features."""
    pictures = images()
    with torch.no_grad():
        moved = backbone.features(pictures.roll(8, dims=-1)).roll(-1, dims=-1)
        assert not torch.allclose(moved, backbone.features(pictures), atol=1e-2)


def test_training_mode_draws_nothing(cls: type[Dinov3ViT], folder: Path) -> None:
    """Whatever the configuration says of random coordinates, drop path and dropout."""
    path = folder / "config.json"
    drawn = {"pos_embed_shift": 0.5, "pos_embed_jitter": 2.0, "pos_embed_rescale": 2.0}
    drawn |= {"drop_path_rate": 0.5, "attention_dropout": 0.5}
    path.write_text(json.dumps(json.loads(path.read_text()) | drawn))
    model_class, _ = cls.architecture()
    reference = model_class.from_pretrained(folder).train()
    backbone, pictures = load(cls, folder), images()
    with torch.no_grad():
        calm = backbone.features(pictures)
        assert torch.equal(backbone.train().features(pictures), calm)
        drawn_tokens = reference(pixel_values=pictures).last_hidden_state[:, 1 + cls.variant.registers :]
    assert not torch.allclose(drawn_tokens, as_tokens(calm), atol=1e-2)


def test_sites_are_where_the_residual_stream_is_read_and_added_to(backbone: Dinov3ViT) -> None:
    """norm2 reads x + attention; a block gives what norm2 read plus the MLP's output."""
    for k, site in enumerate(backbone.sites()):
        assert site.norm2 is not None
        assert site.attention_output is not None
        assert site.mlp_output is not None
        seen: dict[str, tuple[Tensor, Tensor]] = {}

        def keep(name: str, seen: dict[str, tuple[Tensor, Tensor]] = seen):  # type: ignore[no-untyped-def]
            return lambda module, inputs, output: seen.update({name: (inputs[0], output)})

        for name in (site.block, site.norm2, site.attention_output, site.mlp_output):
            backbone.get_submodule(name).register_forward_hook(keep(name))
        with torch.no_grad():
            backbone.features(images())
        entering, leaving = seen[site.block]
        between = seen[site.norm2][0]
        assert torch.equal(between, entering + seen[site.attention_output][1])
        assert torch.equal(leaving, between + seen[site.mlp_output][1])
        assert backbone.get_submodule(site.block) is backbone.blocks()[k]
        assert site.width == leaving.shape[-1]


def test_sites_name_every_linear_layer_of_a_block(backbone: Dinov3ViT) -> None:
    for site in backbone.sites():
        named = sorted(name for names in site.linears.values() for name in names)
        modules = backbone.get_submodule(site.block).named_modules()
        assert named == sorted(f"{site.block}.{name}" for name, m in modules if isinstance(m, nn.Linear))
        assert site.parameters == sum(p.numel() for p in backbone.get_submodule(site.block).parameters())


def test_no_parameter_is_dead_and_none_is_trained(backbone: Dinov3ViT) -> None:
    assert backbone.trainable_parameters() == 0
    backbone.requires_grad_(True)
    backbone.features(images()).square().sum().backward()
    assert [name for name, parameter in backbone.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_an_earlier_layer(cls: type[Dinov3ViT], folder: Path, layer: int) -> None:
    backbone, reference = load(cls, folder, layer=layer), random_model(cls)
    with torch.no_grad():
        states = reference(pixel_values=images(), output_hidden_states=True).hidden_states
        expected = reference.get_submodule("norm")(states[layer])[:, 1 + cls.variant.registers :]
        torch.testing.assert_close(as_tokens(backbone.features(images())), expected, rtol=0, atol=1e-6)
    whole = load(cls, folder)
    later = sum(site.parameters for site in whole.sites()[layer:])
    assert len(backbone.blocks()) == len(backbone.sites()) == layer
    assert backbone.total_parameters() == whole.total_parameters() - later


def test_a_layer_beyond_the_last(folder: Path, cls: type[Dinov3ViT]) -> None:
    with pytest.raises(PeftCorrError, match=r"backbone\.layer is 4, but this backbone has 3 blocks"):
        load(cls, folder, layer=4)


def test_files_have_the_published_names(cls: type[Dinov3ViT], folder: Path) -> None:
    """What transformers writes, and what the hub has, is without the encoder's own level; the mask token is not
    needed.
    """
    with safe_open(folder / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert {"layer.0.attention.k_proj.weight", "layer.2.layer_scale2.lambda1", "norm.bias"} <= names
    assert "layer.0.attention.k_proj.bias" not in names
    assert not any(name.endswith("mask_token") for name, _ in load(cls, folder).named_parameters())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rope_theta", 10000.0),
        ("hidden_act", "relu"),
        ("layer_norm_eps", 1e-3),
        ("num_register_tokens", 3),
        ("num_attention_heads", 4),
        ("key_bias", True),
    ],
)
def test_another_configuration_is_refused(folder: Path, cls: type[Dinov3ViT], key: str, value: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(PeftCorrError, match=f"config.json has {key} {value}, but this backbone has"):
        load(cls, folder)


@pytest.mark.parametrize("name", TRAINED)
def test_strategies_start_from_the_same_features_and_train(
    name: str, cls: type[Dinov3ViT], folder: Path
) -> None:
    options: dict[str, Any] = {"init_std": 1e-4} if name == "adapter" else {}
    pictures = images()
    before = load(cls, folder)
    backbone, strategy = adapt(folder, name, cls, **options)  # type: ignore[arg-type]
    start = {own: tensor.clone() for own, tensor in strategy.state_dict(backbone).items()}
    frozen = dict(before.named_parameters())
    with torch.no_grad():
        plain, adapted = before.features(pictures), backbone.features(pictures)
    if name != "vpt":  # whose prompts are there from the start
        torch.testing.assert_close(adapted, plain, rtol=0, atol=1e-4 if name == "adapter" else 0)
    take_steps(backbone)
    for own, tensor in strategy.state_dict(backbone).items():
        assert not torch.equal(tensor, start[own]), own
    for own, parameter in backbone.named_parameters():
        if name in INJECTED and own in frozen:
            assert torch.equal(parameter, frozen[own]), own
    with torch.no_grad():
        assert not torch.allclose(backbone.features(pictures), plain, atol=1e-3)


@pytest.mark.parametrize(
    ("size", "strategy", "options", "count"),
    [
        ("s16", "last_k", {}, 12 * 384**2 + 14 * 384 + 2 * 384),
        ("b16", "last_k", {"k": 2, "final_norm": False}, 2 * 7_088_640),  # 12 D^2 + 14 D
        ("l16", "last_k", {}, 12_599_296),
        ("h16plus", "last_k", {"final_norm": False}, 26_237_440),  # 4 D^2 + 3 D h + 2 h + 10 D, h 5120
        ("7b16", "last_k", {"final_norm": False}, 167_821_312),  # two biases of D fewer, h 8192
        ("s16", "lora", {}, 147_456),
        ("b16", "lora", {}, 294_912),
        ("7b16", "lora", {}, 4 * 8 * 4096 * 40),
        ("s16plus", "lora", {"targets": ["fc1", "fc2"], "blocks": [-1]}, 3 * 8 * (384 + 1536)),
        ("s16", "adapter", {}, 1_190_400),
        ("l16", "adapter", {}, 6_343_680),
        ("s16", "adaptformer", {}, 595_200),
        ("b16", "adaptformer", {}, 1_189_632),
    ],
)
def test_trainable_parameters(size: str, strategy: str, options: dict[str, Any], count: int) -> None:
    made, named = STRATEGIES.get(strategy), BACKBONES.get(f"dinov3_vit{size}")
    backbone, applied = named.build(named.Config(), None), made(made.Config(**options))
    assert applied.expected_parameters(backbone) == count
    apply_checked(applied, backbone)
    assert backbone.trainable_parameters() == count


def test_default_image_size() -> None:
    with pytest.raises(PeftCorrError, match=r"--image-size 518 is not a multiple .* stride 16: use 512\."):
        Dinov3ViTS16.build(Dinov3ViTS16.Config(image_size=518), None)
    assert Dinov3ViTS16.Config().image_size == 512

"""DINOv3's ConvNeXts, against transformers' own forward and against timm's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from pydantic import Field
from timm.models.convnext import ConvNeXt
from torch import Tensor, nn

from peftcorr.backbones import BACKBONES
from peftcorr.backbones.base import Backbone
from peftcorr.backbones.dinov3_convnext import ConvNextBlock, Dinov3ConvNext, Dinov3ConvNextTiny, Variant
from peftcorr.backbones.identity import local_weights
from peftcorr.errors import PeftCorrError
from peftcorr.strategies import STRATEGIES
from peftcorr.strategies.base import apply_checked
from tests.small_models import random_model, save_weights

SHAPES = [(64, 64), (64, 96)]
STAGE_OF = (0, 0, 1, 2, 2, 2, 3, 3)  # of the small model's blocks


class Small(Dinov3ConvNext):
    """Four stages of 8 to 40 channels."""

    class Config(Backbone.Config):
        image_size: int = Field(default=64, gt=0)

    variant = Variant((8, 16, 24, 40), (2, 1, 3, 2))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_weights(Small, tmp_path / "weights")  # type: ignore[arg-type]


@pytest.fixture
def backbone(folder: Path) -> Dinov3ConvNext:
    return load(folder)


def load(folder: Path, **options: Any) -> Dinov3ConvNext:
    return Small.build(Small.Config(**options), local_weights(folder)).eval()


def pictures(height: int = 64, width: int = 64) -> Tensor:
    return torch.randn((2, 3, height, width), generator=torch.Generator().manual_seed(0))


def reference() -> nn.Module:
    """transformers' model with the weights that `folder` holds."""
    return random_model(Small)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", SHAPES)
def test_features_are_those_of_transformers(backbone: Dinov3ConvNext, shape: tuple[int, int]) -> None:
    """The last stage's map after the final norm, without the pooled token that transformers puts before it."""
    with torch.no_grad():
        tokens = reference()(pixel_values=pictures(*shape)).last_hidden_state[:, 1:]
        features = backbone.features(pictures(*shape))
    assert features.shape == (2, 40, shape[0] // 32, shape[1] // 32)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features.flatten(2).transpose(1, 2), tokens, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layer", [None, 3, 4])
def test_every_block_is_a_place_to_cut(folder: Path, shape: tuple[int, int], layer: int | None) -> None:
    backbone = load(folder, layer=layer)
    with torch.no_grad():
        whole = backbone.features(pictures(*shape))
        for k in range(len(backbone.blocks()) + 1):
            state = backbone.prefix(pictures(*shape), k)
            assert len(state.tokens) == 2
            assert torch.equal(backbone.suffix(state, k), whole), f"block {k}"


@pytest.mark.parametrize("layer", range(1, 9))
def test_an_earlier_layer(folder: Path, layer: int) -> None:
    """The map after that layer, with its own stage's stride and channels; normed in the last stage only."""
    backbone, whole = load(folder, layer=layer), load(folder)
    model = reference()
    seen: list[Tensor] = []
    layers = [module for module in model.modules() if type(module).__name__ == "DINOv3ConvNextLayer"]
    layers[layer - 1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        model(pixel_values=pictures(64, 96))
        expected = seen[0]
        if STAGE_OF[layer - 1] == 3:
            expected = model.get_submodule("layer_norm")(expected.movedim(1, -1)).movedim(-1, 1)
        features = backbone.features(pictures(64, 96))
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-6)
    stride = 4 * 2 ** STAGE_OF[layer - 1]
    assert backbone.stride == stride
    assert features.shape == (2, backbone.channels, 64 // stride, 96 // stride)
    later = sum(site.parameters for site in whole.sites()[layer:])
    norm = 0 if STAGE_OF[layer - 1] == 3 else 2 * 40
    assert backbone.total_parameters() == whole.total_parameters() - later - norm
    assert (backbone.final_norm() is None) == (norm > 0)
    assert len(backbone.blocks()) == len(backbone.sites()) == layer
    backbone.requires_grad_(True)
    backbone.features(pictures()).square().sum().backward()
    assert [name for name, parameter in backbone.named_parameters() if parameter.grad is None] == []


def test_training_mode_draws_nothing(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"drop_path_rate": 0.5}))
    backbone = load(folder)
    with torch.no_grad():
        calm = backbone.features(pictures())
        assert torch.equal(backbone.train().features(pictures()), calm)
        drawn = Small.architecture()[0].from_pretrained(folder).train()(pixel_values=pictures())
    tokens = drawn.last_hidden_state[:, 1:]
    assert not torch.allclose(calm.flatten(2).transpose(1, 2), tokens, atol=1e-2)


def test_blocks_and_their_sites(backbone: Dinov3ConvNext) -> None:
    """A block is one layer, and begins with the downsampling if its stage does."""
    openers = (0, 2, 3, 6)
    for index, (block, site) in enumerate(zip(backbone.blocks(), backbone.sites(), strict=True)):
        assert isinstance(block, ConvNextBlock)
        assert backbone.get_submodule(site.block) is block
        assert len(block.downsampling) == (2 if index in openers else 0)
        assert site.parameters == sum(parameter.numel() for parameter in block.parameters())
        assert site.width == backbone.prefix(pictures(), index + 1).tokens.shape[1]
        assert set(site.linears) == {"fc1", "fc2", "conv"}
        named = {name for names in site.linears.values() for name in names}
        assert named == {
            f"{site.block}.layer.{name}"
            for name, module in block.layer.named_modules()
            if isinstance(module, nn.Linear | nn.Conv2d)
        }
        assert backbone.get_submodule(site.linears["fc1"][0]).out_features == 4 * site.width  # type: ignore[union-attr]
        assert backbone.get_submodule(site.linears["conv"][0]).groups == site.width  # type: ignore[union-attr]
        assert (site.norm2, site.attention_output, site.mlp_output) == (None, None, None)
    assert backbone.leading_tokens is None
    assert backbone.trainable_parameters() == 0


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ("adapter", r"adapter needs a place that trunk\.0 .* does not have \(attention_output\)"),
        ("adaptformer", r"adaptformer needs a place that trunk\.0 .* does not have \(norm2\)"),
        ("lora", r"strategy\.targets has q, but trunk\.0 of this backbone has only conv, fc1, fc2"),
    ],
)
def test_strategies_without_a_place_say_so(backbone: Dinov3ConvNext, strategy: str, said: str) -> None:
    made = STRATEGIES.get(strategy)
    with pytest.raises(PeftCorrError, match=said):
        apply_checked(made(made.Config()), backbone)


@pytest.mark.parametrize(
    ("strategy", "options"),
    [("lora", {"targets": ["fc1", "fc2"]}), ("last_k", {"k": 3}), ("last_k", {"k": 1})],
)
def test_strategies_start_from_the_same_features_and_train(
    folder: Path, strategy: str, options: dict[str, Any]
) -> None:
    plain, backbone = load(folder), load(folder)
    made = STRATEGIES.get(strategy)
    applied = made(made.Config(**options))
    apply_checked(applied, backbone)
    first = applied.first_trainable_block(backbone)
    with torch.no_grad():
        assert torch.equal(backbone.features(pictures()), plain.features(pictures()))
        state = backbone.prefix(pictures(), first)
    start = {name: tensor.clone() for name, tensor in applied.state_dict(backbone).items()}
    optimizer = torch.optim.AdamW([p for p in backbone.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        (backbone.suffix(state, first) - 1).square().mean().backward()
        optimizer.step()
    after = applied.state_dict(backbone)
    assert [name for name in start if torch.equal(after[name], start[name])] == []
    with torch.no_grad():
        assert torch.equal(backbone.prefix(pictures(), first).tokens, state.tokens)
        assert not torch.allclose(backbone.features(pictures()), plain.features(pictures()), atol=1e-3)


@pytest.mark.parametrize(
    ("strategy", "options", "count"),
    [
        ("last_k", {}, 4_763_136 + 2 * 768),  # 8 D^2 + 58 D a layer, and the final norm
        (
            "last_k",
            {"k": 3, "final_norm": False},
            3 * 4_763_136 + 768 + 4 * 384 * 768 + 768,
        ),  # and downsampling
        ("last_k", {"k": 1, "layer": 15, "final_norm": True}, 8 * 384**2 + 58 * 384),  # a stage without norm
        ("lora", {"targets": ["fc1", "fc2"]}, 529_920),  # 10 D r a layer, D summing to 6,624
        ("lora", {"targets": ["fc2"], "blocks": [-1], "rank": 4}, 4 * 5 * 768),
    ],
)
def test_trainable_parameters(strategy: str, options: dict[str, Any], count: int) -> None:
    """Of ConvNeXt-T, in closed form."""
    layer = options.pop("layer", None) if "layer" in options else None
    backbone = Dinov3ConvNextTiny.build(Dinov3ConvNextTiny.Config(layer=layer), None)
    made = STRATEGIES.get(strategy)
    applied = made(made.Config(**options))
    assert applied.expected_parameters(backbone) == count
    apply_checked(applied, backbone)
    assert backbone.trainable_parameters() == count


@pytest.mark.parametrize(
    ("size", "total"),
    [("tiny", 27_820_128), ("small", 49_454_688), ("base", 87_566_464), ("large", 196_230_336)],
)
def test_published_shapes_are_those_of_timm(size: str, total: int) -> None:
    """Both have the final norm and no classifier."""
    named = BACKBONES.get(f"dinov3_convnext_{size}")
    backbone = named.build(named.Config(), None)
    assert isinstance(backbone, Dinov3ConvNext)
    model = timm.create_model(f"convnext_{size}.dinov3_lvd1689m", device="meta")
    assert backbone.total_parameters() == total == sum(p.numel() for p in model.parameters())
    assert backbone.variant.depths == tuple(len(stage.blocks) for stage in model.stages)
    assert backbone.variant.widths == tuple(stage.blocks[0].mlp.fc1.in_features for stage in model.stages)
    assert model.head.norm.eps == backbone.norm.eps  # type: ignore[union-attr]
    assert backbone.config.image_size == 512
    assert backbone.stride == 32


def test_features_are_those_of_timm(backbone: Dinov3ConvNext) -> None:
    """Another implementation with the same weights: 8 layers in 4 stages, the norm before the pooling."""
    model = ConvNeXt(depths=Small.variant.depths, dims=Small.variant.widths, num_classes=0).eval()
    state: dict[str, Tensor] = {}
    for name, tensor in reference().state_dict().items():
        name = name.removeprefix("model.").replace(".layers.", ".blocks.").replace("layer_norm", "norm")
        for old, new in (
            ("stages.0.downsample_layers", "stem"),
            ("downsample_layers", "downsample"),
            ("depthwise_conv", "conv_dw"),
            ("pointwise_conv", "mlp.fc"),
        ):
            name = name.replace(old, new)
        state[f"head.{name}" if name.startswith("norm") else name] = tensor
    model.load_state_dict(state)
    with torch.no_grad():
        expected = model.forward_features(pictures(64, 96)).movedim(1, -1)
        norm = model.head.norm
        expected = nn.functional.layer_norm(expected, (40,), norm.weight, norm.bias, norm.eps).movedim(-1, 1)
        features = backbone.features(pictures(64, 96))
    assert features.std() > 0.1
    assert (features - expected).norm() / expected.norm() <= 1e-5


@pytest.mark.parametrize(
    ("key", "value"), [("depths", [2, 1, 2, 2]), ("layer_norm_eps", 1e-3), ("hidden_act", "relu")]
)
def test_another_configuration_is_refused(folder: Path, key: str, value: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(PeftCorrError, match=f"config.json has {key} .*, but this backbone has"):
        load(folder)


def test_the_image_size_must_suit_the_stride_at_the_tap(folder: Path) -> None:
    with pytest.raises(PeftCorrError, match=r"--image-size 72 is not a multiple .* stride 32: use 64\."):
        load(folder, image_size=72)
    with torch.no_grad():
        features = load(folder, image_size=72, layer=3).features(pictures(72, 72))
    assert features.shape == (2, 16, 9, 9)
    with pytest.raises(PeftCorrError, match=r"backbone\.layer is 9, but this backbone has 8 blocks"):
        load(folder, layer=9)

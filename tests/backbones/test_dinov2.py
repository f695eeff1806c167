"""DINOv2: the contract of every backbone, against transformers' own forward."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from peftcorr.backbones import BACKBONES
from peftcorr.backbones.dinov2 import Dinov2
from peftcorr.errors import PeftCorrError
from tests.small_models import FAMILY, Small, SmallRegisters, build, images, random_model, save_weights


@pytest.fixture(params=FAMILY, ids=lambda cls: cls.__name__)
def backbone(request: pytest.FixtureRequest, tmp_path: Path) -> Dinov2:
    return build(request.param, save_weights(request.param, tmp_path / "weights"))


def test_features_are_a_map_of_patches(backbone: Dinov2) -> None:
    with torch.no_grad():
        assert backbone.features(images()).shape == (2, 32, 4, 4)
        wide = backbone.features(torch.randn(1, 3, 32, 48))
    assert wide.shape == (1, 32, 4, 6)
    assert wide.dtype == torch.float32


def test_every_block_is_a_place_to_cut(backbone: Dinov2) -> None:
    pictures = images()
    with torch.no_grad():
        whole = backbone.features(pictures)
        for k in range(len(backbone.blocks()) + 1):
            state = backbone.prefix(pictures, k)
            assert torch.equal(backbone.suffix(state, k), whole), f"block {k}"
            assert torch.equal(backbone(state, k), whole)
        assert torch.equal(backbone(pictures), whole)


@pytest.mark.parametrize("shape", [(32, 32), (32, 48), (40, 24)])
def test_features_are_those_of_transformers(backbone: Dinov2, shape: tuple[int, int]) -> None:
    """Patch tokens after the final norm, in rows and columns; any other size interpolates the positions."""
    reference = random_model(type(backbone))
    pictures = torch.randn(2, 3, *shape)
    with torch.no_grad():
        tokens = reference(pixel_values=pictures).last_hidden_state[:, 1 + backbone.variant.registers :]
        features = backbone.features(pictures)
    torch.testing.assert_close(features.flatten(2).transpose(1, 2), tokens, rtol=0, atol=1e-6)
    assert features.shape[-2:] == (shape[0] // 8, shape[1] // 8)


@pytest.mark.parametrize("cls", FAMILY, ids=lambda cls: cls.__name__)
def test_training_mode_draws_nothing(cls: type[Dinov2], tmp_path: Path) -> None:
    """Whatever the configuration of a folder says: prefixes are kept, and are kept for everybody."""
    path = save_weights(cls, tmp_path) / "config.json"
    drawn = {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5, "drop_path_rate": 0.5}
    path.write_text(json.dumps(json.loads(path.read_text()) | drawn))
    backbone = build(cls, tmp_path)
    with torch.no_grad():
        calm = backbone.features(images())
        assert torch.equal(backbone.train().features(images()), calm)


def test_sites_are_where_the_residual_stream_is_read_and_added_to(backbone: Dinov2) -> None:
    """norm2 reads x + attention; a block gives what norm2 read plus the MLP's output."""
    for k, site in enumerate(backbone.sites()):
        seen: dict[str, Tensor] = {}

        def keep(name: str, seen: dict[str, Tensor] = seen):  # type: ignore[no-untyped-def]
            return lambda module, inputs, output: seen.update({f"{name} in": inputs[0], name: output})

        handles = [
            backbone.get_submodule(name).register_forward_hook(keep(role))
            for role, name in {
                "block": site.block, "attention": site.attention_output, "mlp": site.mlp_output,
                "norm2": site.norm2,
            }.items()
        ]  # fmt: skip
        with torch.no_grad():
            backbone.features(images())
        for handle in handles:
            handle.remove()
        assert backbone.get_submodule(site.block) is backbone.blocks()[k]
        assert torch.equal(seen["norm2 in"], seen["block in"] + seen["attention"])
        assert torch.equal(seen["block"], seen["norm2 in"] + seen["mlp"])
        assert site.width == seen["block"].shape[-1] == 32


def test_sites_name_every_linear_layer_of_a_block(backbone: Dinov2) -> None:
    for site in backbone.sites():
        named = {name for names in site.linears.values() for name in names}
        real = {
            f"{site.block}.{name}"
            for name, module in backbone.get_submodule(site.block).named_modules()
            if isinstance(module, torch.nn.Linear)
        }
        assert named == real


def test_no_parameter_is_dead(backbone: Dinov2) -> None:
    """DDP refuses parameters without a gradient, and they would be counted for nothing."""
    backbone.requires_grad_(True)
    backbone.features(images()).square().sum().backward()
    assert [name for name, parameter in backbone.named_parameters() if parameter.grad is None] == []


def test_starts_frozen(backbone: Dinov2) -> None:
    assert backbone.trainable_parameters() == 0


def test_preprocessing_centres_on_the_published_statistics() -> None:
    backbone = Small.build(Small.Config(), None)
    with torch.device("cpu"):
        white = backbone.preprocess(torch.full((1, 3, 8, 8), 255, dtype=torch.uint8))
    expected = torch.tensor([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    torch.testing.assert_close(white[0, :, 0, 0], expected)


@pytest.mark.parametrize(
    ("name", "total"),
    [("dinov2_vits14", 22_056_192), ("dinov2_vitb14", 86_579_712), ("dinov2_vits14_reg", 22_057_728)],
)
def test_published_sizes_without_weights(name: str, total: int) -> None:
    """The published counts less the mask token, which only masked pretraining reads."""
    cls = BACKBONES.get(name)
    backbone = cls.build(cls.Config(), None)
    assert backbone.total_parameters() == total
    assert next(backbone.parameters()).is_meta


@pytest.mark.parametrize("name", BACKBONES.names())
def test_every_backbone_builds_from_its_code_alone(name: str) -> None:
    cls = BACKBONES.get(name)
    backbone = cls.build(cls.Config(), None)
    size = backbone.config.image_size
    features = backbone.features(torch.zeros((1, 3, size, size), device="meta"))
    assert features.shape == (1, backbone.channels, size // backbone.stride, size // backbone.stride)
    assert len(backbone.sites()) == len(backbone.blocks())


def test_image_size_must_be_a_multiple_of_the_stride() -> None:
    with pytest.raises(PeftCorrError, match=r"--image-size 100 is not a multiple .* stride 8: use 96\."):
        Small.build(Small.Config(image_size=100), None)
    with pytest.raises(PeftCorrError, match=r"stride 8: use 8\."):
        SmallRegisters.build(SmallRegisters.Config(image_size=3), None)


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_features_of_an_earlier_block(small_weights: Path, layer: int) -> None:
    """After `layer` blocks, through the final norm; later blocks are neither run nor counted."""
    cls = BACKBONES.get("small")
    config = cls.Config(layer=layer)
    backbone = cls.build(config, cls.find_weights(config, small_weights)).eval()
    reference = random_model(Small)
    with torch.no_grad():
        hidden = reference(pixel_values=images(), output_hidden_states=True).hidden_states[layer]
        expected = reference.layernorm(hidden)[:, 1:]  # type: ignore[operator]
        features = backbone.features(images())
        for k in range(layer + 1):
            assert torch.equal(backbone.suffix(backbone.prefix(images(), k), k), features)
    torch.testing.assert_close(features.flatten(2).transpose(1, 2), expected, rtol=0, atol=1e-6)
    assert len(backbone.blocks()) == len(backbone.sites()) == layer
    block = 12 * 32**2 + 15 * 32
    assert backbone.total_parameters() == build(Small, small_weights).total_parameters() - (3 - layer) * block
    assert all(site.parameters == block for site in backbone.sites())


def test_a_layer_beyond_the_last_block() -> None:
    with pytest.raises(PeftCorrError, match=r"backbone.layer is 4, but this backbone has 3 blocks"):
        Small.build(Small.Config(layer=4), None)


def test_the_default_layer_stays_out_of_recipes() -> None:
    assert "layer" not in Small.Config().model_dump()
    assert Small.Config(layer=2).model_dump()["layer"] == 2


def test_a_head_comes_last(small_weights: Path) -> None:
    backbone = build(Small, small_weights)
    with torch.no_grad():
        before = backbone.features(images())
        backbone.head = torch.nn.Conv2d(32, 5, 1)
        assert torch.equal(backbone(images()), backbone.head(before))
        assert torch.equal(backbone.suffix(backbone.prefix(images(), 3), 3), backbone.head(before))

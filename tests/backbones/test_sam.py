"""SAM: the contract of every backbone, against the forwards of transformers and of the segment-anything package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segment_anything
import torch
from torch import Tensor, nn

from peftcorr.backbones import BACKBONES
from peftcorr.backbones.sam import Sam, SamB
from peftcorr.errors import PeftCorrError
from peftcorr.strategies import STRATEGIES
from peftcorr.strategies.base import apply_checked
from tests.backbones.small_sam import (
    SIZE,
    SmallSam,
    in_transformers,
    load,
    package_encoder,
    save_checkpoint,
)

TOTALS = {"b": 89_670_912, "l": 308_278_272, "h": 637_026_048}
NECKS = {"b": 787_456, "l": 852_992, "h": 918_528}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sam")
    in_transformers().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("sam") / "sam_small.pth")


@pytest.fixture(params=["neck", "trunk"])
def backbone(request: pytest.FixtureRequest, folder: Path) -> Sam:
    return load(folder, feature=request.param)


def pictures(height: int = SIZE, width: int = SIZE) -> Tensor:
    return torch.randn((2, 3, height, width), generator=torch.Generator().manual_seed(3))


def test_features_are_a_map_of_patches(backbone: Sam) -> None:
    with torch.no_grad():
        features = backbone.features(pictures())
    assert features.shape == (2, backbone.channels, 8, 8)
    assert backbone.channels == (16 if backbone.model.neck is not None else 32)
    assert features.dtype == torch.float32
    assert features.std(dim=(0, 2, 3)).min() > 0.1  # or all the comparisons below would say nothing


@pytest.mark.parametrize("size", [SIZE, 96])
def test_every_block_is_a_place_to_cut(backbone: Sam, size: int) -> None:
    with torch.no_grad():
        whole = backbone.features(pictures(size, size))
        for k in range(5):
            state = backbone.prefix(pictures(size, size), k)
            assert state.tokens.shape == (2, size // 16, size // 16, 32)
            assert torch.equal(backbone(state, k), whole), f"block {k}"


def test_features_are_those_of_transformers(folder: Path) -> None:
    reference = in_transformers().vision_encoder
    with torch.no_grad():
        expected = reference(pictures(), output_hidden_states=True)
        neck = load(folder).features(pictures())
        trunk = load(folder, feature="trunk").features(pictures())
    torch.testing.assert_close(neck, expected.last_hidden_state, rtol=0, atol=1e-5)
    torch.testing.assert_close(trunk.permute(0, 2, 3, 1), expected.hidden_states[-1], rtol=0, atol=1e-5)


def test_features_are_those_of_the_package(checkpoint: Path) -> None:
    with torch.no_grad():
        torch.testing.assert_close(
            load(checkpoint).features(pictures()), package_encoder()(pictures()), rtol=0, atol=1e-5
        )


def cubic_matrix(old: int, new: int) -> Tensor:
    """Cubic convolution (Keys 1981, a = -3/4) at half-pixel centres, the border repeated: (new, old)."""
    matrix = torch.zeros((new, old), dtype=torch.float64)
    for row in range(new):
        centre = (row + 0.5) * old / new - 0.5
        for place in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            d = abs(centre - place)
            near, far = 1.25 * d**3 - 2.25 * d**2 + 1, -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
            matrix[row, min(max(place, 0), old - 1)] += near if d <= 1 else far
    return matrix


def linear(trained: Tensor, new: int) -> Tensor:
    """Relative positions (L, C) on `new` places, each channel between its two neighbours."""
    old = len(trained)
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    channels = [np.interp(centres, np.arange(old), channel) for channel in trained.numpy().T]
    return torch.from_numpy(np.stack(channels, axis=1)).float()


def resized_package_encoder(height: int, width: int) -> Any:
    """The package's encoder with all positions resized beforehand to a grid, so that it interpolates nothing."""
    encoder = package_encoder()
    with torch.no_grad():
        rows, columns = cubic_matrix(8, height), cubic_matrix(8, width)
        grid = torch.einsum("ih,jw,hwc->ijc", rows, columns, encoder.pos_embed[0].double())
        encoder.pos_embed = nn.Parameter(grid.float()[None])
        for index in SmallSam.variant.global_blocks:
            attention = encoder.blocks[index].attn
            attention.rel_pos_h = nn.Parameter(linear(attention.rel_pos_h, 2 * height - 1))
            attention.rel_pos_w = nn.Parameter(linear(attention.rel_pos_w, 2 * width - 1))
    return encoder


@pytest.mark.parametrize(("height", "width"), [(4, 4), (13, 13), (2, 2), (6, 10)])
def test_other_sizes_interpolate_both_kinds_of_positions(checkpoint: Path, height: int, width: int) -> None:
    """Windowed blocks keep theirs, also where the image is smaller than a window (2 x 2)."""
    reference = resized_package_encoder(height, width)
    noise = pictures(16 * height, 16 * width)
    with torch.no_grad():
        expected = reference(noise)
        torch.testing.assert_close(load(checkpoint).features(noise), expected, rtol=0, atol=2e-5)


def test_nothing_is_interpolated_at_the_pretrained_size(folder: Path) -> None:
    backbone = load(folder)
    assert backbone.positions(8, 8) is backbone.model.pos_embed
    for block, side in ((0, 3), (1, 8)):
        attention = backbone.model.layers[block].attn
        table = attention.get_rel_pos(side, side, attention.rel_pos_h)
        for query in range(side):
            for key in range(side):
                assert torch.equal(table[query, key], attention.rel_pos_h[query - key + side - 1])


def test_an_earlier_layer(folder: Path) -> None:
    """The trunk gives that block's tokens as they are; the neck, where it is kept, reads them."""
    whole = load(folder)
    seen: list[Tensor] = []
    handle = whole.blocks()[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    early, necked = load(folder, feature="trunk", layer=2), load(folder, layer=2)
    with torch.no_grad():
        whole.features(pictures())
        assert torch.equal(early.features(pictures()).permute(0, 2, 3, 1), seen[0])
        assert torch.equal(necked.features(pictures()), whole.model.neck(seen[0]))
    handle.remove()
    assert len(early.blocks()) == len(early.sites()) == 2
    cut = sum(site.parameters for site in whole.sites()[2:])
    assert necked.total_parameters() == whole.total_parameters() - cut
    with pytest.raises(PeftCorrError, match=r"backbone\.layer is 5, but this backbone has 4 blocks"):
        load(folder, layer=5)


def windowed(stream: Tensor, side: int) -> Tensor:
    """(B, h, w, C) as (B * windows, side, side, C), padded with zeros at the bottom and right."""
    batch, height, width, channels = stream.shape
    down, across = -(-height // side), -(-width // side)
    whole = stream.new_zeros((batch, down * side, across * side, channels))
    whole[:, :height, :width] = stream
    parts = whole.view(batch, down, side, across, side, channels)
    return parts.transpose(2, 3).reshape(-1, side, side, channels)


def test_sites_are_where_the_residual_stream_is_read_and_added_to(backbone: Sam) -> None:
    for k, site in enumerate(backbone.sites()):
        seen: dict[str, Tensor] = {}

        def keep(name: str, seen: dict[str, Tensor] = seen):  # type: ignore[no-untyped-def]
            return lambda module, inputs, output: seen.update({f"{name} in": inputs[0], name: output})

        roles = {"block": site.block, "attention": site.attention_output, "mlp": site.mlp_output}
        for role, name in (roles | {"norm2": site.norm2}).items():
            backbone.get_submodule(name or "").register_forward_hook(keep(role))
        with torch.no_grad():
            state = backbone.prefix(pictures(), k)
            backbone.suffix(state, k)
        assert backbone.get_submodule(site.block) is backbone.blocks()[k]
        assert torch.equal(seen["block"], seen["norm2 in"] + seen["mlp"])
        assert site.width == seen["block"].shape[-1] == 32
        if k in SmallSam.variant.global_blocks:
            assert torch.equal(seen["norm2 in"], state.tokens + seen["attention"])
        else:
            real = windowed(torch.ones_like(state.tokens), 3) > 0
            added = seen["attention"] * real
            assert torch.equal(windowed(seen["norm2 in"], 3), windowed(state.tokens, 3) + added)


def test_padding_of_windows_cannot_leak(backbone: Sam) -> None:
    """Whatever a strategy makes of padded tokens after attention is cut off."""
    padding = windowed(torch.ones(2, 8, 8, 32), 3) == 0
    assert padding.any()
    with torch.no_grad():
        before = backbone.features(pictures())
        for index in (0, 2):
            place = backbone.get_submodule(backbone.sites()[index].attention_output or "")
            place.register_forward_hook(lambda module, inputs, output: output.masked_fill(padding, 1e6))
        assert torch.equal(backbone.features(pictures()), before)


def test_sites_name_every_linear_layer_of_a_block(backbone: Sam) -> None:
    for site in backbone.sites():
        named = {name for names in site.linears.values() for name in names}
        modules = backbone.get_submodule(site.block).named_modules(prefix=site.block)
        assert named == {name for name, module in modules if isinstance(module, nn.Linear)}


@pytest.mark.parametrize("size", [SIZE, 96])
def test_no_parameter_is_dead(backbone: Sam, size: int) -> None:
    assert backbone.trainable_parameters() == 0
    backbone.requires_grad_(True)
    backbone.features(pictures(size, size)).square().sum().backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_training_mode_changes_nothing(backbone: Sam) -> None:
    with torch.no_grad():
        before = backbone.features(pictures())
        assert torch.equal(backbone.train().features(pictures()), before)


def test_prompts_have_no_place(backbone: Sam) -> None:
    assert backbone.leading_tokens is None
    assert backbone.final_norm() is None


# Four blocks, D 32: 12 D^2 + 13 D, and relative positions of 2 axes (2 x 3 - 1 or 2 x 8 - 1) times the head's 16.
WINDOWED, GLOBAL = 12_704 + 2 * 5 * 16, 12_704 + 2 * 15 * 16


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("lora", {"targets": ["q", "v"], "rank": 2}, 4 * 4 * 2 * 32),
        ("lora", {"targets": ["q", "k", "v", "out", "fc1", "fc2"], "rank": 2}, 4 * 18 * 2 * 32),
        ("adapter", {"bottleneck": 4}, 4 * 2 * (2 * 32 * 4 + 4 + 32)),
        ("adaptformer", {"bottleneck": 4}, 4 * (2 * 32 * 4 + 4 + 32)),
        ("last_k", {"k": 1}, GLOBAL),
        ("last_k", {"k": 2}, GLOBAL + WINDOWED),
    ],
)
def test_strategies(backbone: Sam, name: str, options: dict[str, Any], count: int) -> None:
    """Their closed forms, features as they were, and a gradient for all that they train."""
    with torch.no_grad():
        before = backbone.features(pictures())
    torch.manual_seed(0)
    strategy = STRATEGIES.get(name)(STRATEGIES.get(name).Config(**options))
    apply_checked(strategy, backbone)
    backbone.eval()
    assert backbone.trainable_parameters() == count
    with torch.no_grad():  # as before: with gradients attention takes another kernel
        start = backbone.features(pictures())
    torch.testing.assert_close(start, before, rtol=0, atol=1e-3 if name == "adapter" else 0)
    backbone.features(pictures()).square().sum().backward()
    trained = [p for p in backbone.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)
    for parameter in trained:
        parameter.data += 0.1 * torch.randn_like(parameter)
    with torch.no_grad():
        moved = backbone.features(pictures())
        assert not torch.allclose(moved, before, atol=1e-2)
        if name == "lora":
            strategy.merge(backbone)
            torch.testing.assert_close(backbone.features(pictures()), moved, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", ["b", "l", "h"])
def test_published_sizes_without_weights(size: str) -> None:
    """The package's own count, whatever the image size; the trunk is without the neck."""
    with torch.device("meta"):
        published = segment_anything.sam_model_registry[f"vit_{size}"]().image_encoder
    assert sum(p.numel() for p in published.parameters()) == TOTALS[size]
    assert sum(p.numel() for p in published.neck.parameters()) == NECKS[size]
    cls = BACKBONES.get(f"sam_vit{size}")
    for image_size in (1024, 512):
        backbone = cls.build(cls.Config(image_size=image_size), None)
        assert backbone.total_parameters() == TOTALS[size]
        assert [site.parameters for site in backbone.sites()] == [
            sum(p.numel() for p in block.parameters()) for block in published.blocks
        ]
    trunk = cls.build(cls.Config.model_validate({"feature": "trunk"}), None)
    assert trunk.total_parameters() == TOTALS[size] - NECKS[size]
    assert trunk.channels == published.patch_embed.proj.out_channels


def test_block_sizes_of_sam_b() -> None:
    sizes = [site.parameters for site in SamB.build(SamB.Config(), None).sites()]
    assert sizes == 4 * [7_091_328, 7_091_328, 7_104_128]


def test_preprocessing_is_the_packages() -> None:
    photograph = torch.randint(256, (1, 3, 1024, 1024), dtype=torch.uint8)
    with torch.device("meta"):
        package = segment_anything.sam_model_registry["vit_b"]()
    package.pixel_mean = torch.tensor([123.675, 116.28, 103.53]).view(-1, 1, 1)
    package.pixel_std = torch.tensor([58.395, 57.12, 57.375]).view(-1, 1, 1)
    backbone = SamB.build(SamB.Config(), None)
    torch.testing.assert_close(backbone.preprocess(photograph), package.preprocess(photograph))


def test_image_size_must_be_a_multiple_of_the_stride() -> None:
    with pytest.raises(PeftCorrError, match=r"--image-size 500 is not a multiple .* stride 16: use 496\."):
        SamB.build(SamB.Config(image_size=500), None)

"""Stable Diffusion with the strategies, and its published sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from peftcorr.backbones import BACKBONES
from peftcorr.strategies import STRATEGIES
from peftcorr.strategies.base import apply_checked

pytest.importorskip("diffusers", reason="Stable Diffusion needs peftcorr[diffusion]")

from peftcorr.backbones.diffusion.stable_diffusion import StableDiffusion
from tests.small_diffusion import SmallDiffusion, build, images

TRAINED = {"last_k": {"k": 2}, "lora": {}, "adapter": {"bottleneck": 4}, "adaptformer": {"bottleneck": 4}}


@pytest.mark.parametrize("name", TRAINED)
def test_strategies_start_where_the_backbone_is_and_train(diffusion_weights: Path, name: str) -> None:
    plain, backbone = build(SmallDiffusion, diffusion_weights), build(SmallDiffusion, diffusion_weights)
    made = STRATEGIES.get(name)
    strategy = made(made.Config(**TRAINED[name]))
    torch.manual_seed(1)
    apply_checked(strategy, backbone)
    backbone.eval()
    with torch.no_grad():
        start, features = plain.features(images()), backbone.features(images())
    if name == "adapter":
        assert 0 < (features - start).norm() / start.norm() < 1e-2
    else:
        assert torch.equal(features, start)
    first = strategy.first_trainable_block(backbone)
    assert first == (len(backbone.blocks()) - 2 if name == "last_k" else 0)
    before = {key: tensor.clone() for key, tensor in strategy.state_dict(backbone).items()}
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=1.0)
    state = backbone.prefix(images(), first)
    for _ in range(2):
        optimizer.zero_grad()
        (backbone(state, first) * 10).square().mean().backward()
        optimizer.step()
    after = strategy.state_dict(backbone)
    assert [key for key in before if torch.equal(after[key], before[key])] == []


@pytest.mark.parametrize(
    ("name", "total"),
    [
        # Encoder of the autoencoder 34,163,592, the mean's half of its last convolution 36, text encoder, and the UNet
        # (859,520,964 and 865,910,724 in all) less the last two up blocks and the output.
        ("sd15", 34_163_592 + 36 + 123_060_480 + 859_520_964 - 90_235_844),
        ("sd21", 34_163_592 + 36 + 340_387_840 + 865_910_724 - 91_710_404),
    ],
)
def test_published_sizes_without_weights(name: str, total: int) -> None:
    cls = BACKBONES.get(name)
    assert issubclass(cls, StableDiffusion)
    backbone = cls.build(cls.Config(), None)
    assert backbone.total_parameters() == total
    assert (backbone.stride, backbone.channels, len(backbone.blocks())) == (16, 1280, 10)
    unet, vae, _ = cls.settings()
    from diffusers import AutoencoderKL, UNet2DConditionModel

    with torch.device("meta"):
        whole = UNet2DConditionModel(**unet), AutoencoderKL(**vae)
    published = [sum(p.numel() for p in model.parameters()) for model in whole]
    assert published == [859_520_964 if name == "sd15" else 865_910_724, 83_653_863]


@pytest.mark.parametrize(
    ("name", "text", "strategy", "count"),
    [
        # Rank 8: D to D at self-attention's q and v and at cross-attention's q, text to D at its v.
        ("sd15", 768, "lora", lambda d: 8 * (3 * 2 * d + 768 + d)),
        ("sd21", 1024, "lora", lambda d: 8 * (3 * 2 * d + 1024 + d)),
        ("sd21", 1024, "adaptformer", lambda d: 2 * d * 64 + 64 + d),
        ("sd15", 768, "adapter", lambda d: 2 * (2 * d * 64 + 64 + d)),
    ],
)
def test_trainable_parameters_of_the_published_sizes(
    name: str, text: int, strategy: str, count: Callable[[int], int]
) -> None:
    cls, made = BACKBONES.get(name), STRATEGIES.get(strategy)
    backbone = cls.build(cls.Config(), None)
    apply_checked(made(made.Config()), backbone)
    widths = [320, 320, 640, 640, 1280, 1280, 1280, 1280, 1280, 1280]
    assert backbone.trainable_parameters() == sum(count(width) for width in widths)

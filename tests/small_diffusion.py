"""Stable Diffusion in small: the real classes of diffusers and transformers, with random weights."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
import transformers
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from peftcorr.backbones.diffusion.small import SmallDiffusion
from peftcorr.backbones.diffusion.stable_diffusion import StableDiffusion, Variant

SIZE = 128  # pixels: latents of 16 x 16, and 2 x 2 in the middle of the UNet
WIDTHS = (16, 24, 32, 32)
DEPTH = {0: 7, 1: 10, 2: 13, 3: 16}  # blocks to the end of each up block


class SmallDiffusion21(SmallDiffusion):
    """With linear projections and heads by resolution, as 2.1."""

    variant = Variant(
        unet=SmallDiffusion.variant.unet
        | {"attention_head_dim": (1, 2, 4, 4), "use_linear_projection": True},
        text=SmallDiffusion.variant.text | {"hidden_act": "gelu"},
        pad_token="<|endoftext|>",
        vae=SmallDiffusion.variant.vae,
    )


def randomise(model: nn.Module, seed: int) -> nn.Module:
    """Every parameter random, at a scale that keeps activations about as large as they come in."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
            else:
                parameter.copy_(0.2 * noise)
        for module in model.modules():
            if isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
                module.weight.copy_(0.5 + torch.rand(module.weight.shape, generator=generator))
    return model.eval()


@cache
def models(cls: type[SmallDiffusion]) -> tuple[Any, Any, Any]:
    """UNet, autoencoder and text encoder of a small pipeline, whole; the same ones each time."""
    unet, vae, text = cls.settings()
    return (
        randomise(UNet2DConditionModel(**unet), 0),
        randomise(AutoencoderKL(**vae), 1),
        randomise(transformers.CLIPTextModel(transformers.CLIPTextConfig(**text)), 2),
    )


def save_pipeline(cls: type[SmallDiffusion], folder: Path) -> Path:
    """Write a small pipeline in diffusers format; returns the folder."""
    for name, model in zip(("unet", "vae", "text_encoder"), models(cls), strict=True):
        model.save_pretrained(folder / name)
    words = ["!", "!</w>", *ascii_lowercase, *(f"{letter}</w>" for letter in ascii_lowercase)]
    words += [f"unused{number}" for number in range(58 - len(words))] + ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (tokenizer / "merges.txt").write_text("#version: 0.2\n")
    (tokenizer / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    return folder


def build(cls: type[SmallDiffusion], folder: Path, **options: Any) -> StableDiffusion:
    """Load a small pipeline, told that all images are of cats, two at a time."""
    config = cls.Config(**options)
    backbone = cls.build(config, cls.find_weights(config, folder))
    backbone.eval()
    backbone.condition(["cat", "cat"])
    return backbone


def images(count: int = 2, seed: int = 0, height: int = SIZE, width: int = SIZE) -> Tensor:
    """Preprocessed noise (count, 3, height, width)."""
    return torch.rand((count, 3, height, width), generator=torch.Generator().manual_seed(seed)) * 2 - 1

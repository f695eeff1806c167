"""Small backbones of the real classes, with random weights: what the tests run instead of a pretrained model.

Imported by the tests, and given as ``--plugin`` to the processes that they start: it registers ``small``.
"""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import Field
from torch import nn

from peftcorr.backbones import BACKBONES
from peftcorr.backbones.base import Backbone
from peftcorr.backbones.dinov2 import Dinov2, Variant
from peftcorr.backbones.identity import local_weights

SIZE = 32  # pixels: four patches of 8 a side


class Small(Dinov2):
    """DINOv2 32 wide and 3 deep."""

    class Config(Backbone.Config):
        image_size: int = Field(default=SIZE, gt=0)

    variant = Variant(32, 3, 2, patch=8, pretrained_size=SIZE)


class SmallRegisters(Small):
    """With registers."""

    variant = Variant(32, 3, 2, patch=8, pretrained_size=SIZE, registers=4)


class SmallGated(Small):
    """With the gated MLP of ViT-g."""

    variant = Variant(32, 3, 2, patch=8, pretrained_size=SIZE, gated_mlp=True)


class SmallGatedRegisters(Small):
    """With both."""

    variant = Variant(32, 3, 2, patch=8, pretrained_size=SIZE, gated_mlp=True, registers=4)


FAMILY: tuple[type[Dinov2], ...] = (Small, SmallRegisters, SmallGated, SmallGatedRegisters)

BACKBONES.register("small")(Small)


def random_model(cls: type[Dinov2], seed: int = 0) -> nn.Module:
    """The transformers model of a backbone, every parameter random.

    Published initialisations leave biases at 0, norms and LayerScale at 1: a test on those would not see that one
    is skipped or applied twice.
    """
    torch.manual_seed(seed)
    model_class, config = cls.architecture()
    model: nn.Module = model_class(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "lambda" in name:
                parameter.copy_(0.5 + torch.rand_like(parameter))
            else:
                parameter.copy_(0.2 * torch.randn_like(parameter))
    return model


def save_weights(cls: type[Dinov2], folder: Path, seed: int = 0) -> Path:
    """Write random weights as a folder in Hugging Face format; returns the folder."""
    random_model(cls, seed).save_pretrained(folder)  # type: ignore[operator]
    return folder


def build(cls: type[Dinov2], folder: Path) -> Dinov2:
    """Load a backbone from such a folder, ready to be evaluated."""
    backbone = cls.build(cls.Config(), local_weights(folder))
    backbone.eval()
    return backbone


def images(count: int = 2, seed: int = 0, size: int = SIZE) -> torch.Tensor:
    """Preprocessed noise (count, 3, size, size)."""
    return torch.randn((count, 3, size, size), generator=torch.Generator().manual_seed(seed))

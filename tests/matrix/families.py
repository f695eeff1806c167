"""One small backbone of every family, with random weights that are the same each time."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from peftcorr.backbones import BACKBONES, Backbone
from peftcorr.backbones.small import families
from tests.backbones import test_dinov3
from tests.backbones.test_dinov3 import Gated as GatedDinov3
from tests.backbones.timm import timm_models
from tests.small_models import Small, save_weights


@dataclass(frozen=True)
class Family:
    """How a small backbone is made from files in a folder, and the side of its images in pixels."""

    make: Callable[[Path], Backbone]
    size: int

    def images(self) -> Tensor:
        """Two preprocessed images (2, 3, size, size)."""
        return torch.rand((2, 3, self.size, self.size), generator=torch.Generator().manual_seed(0)) * 2 - 1


def _dinov3_gated(folder: Path) -> Backbone:
    return test_dinov3.load(GatedDinov3, save_weights(GatedDinov3, folder))  # type: ignore[arg-type]


def _fusion(folder: Path) -> Backbone:
    cls = BACKBONES.get("fusion")
    parts = [
        {"name": "small", "weights": str(save_weights(Small, folder / "one", seed=0))},
        {"name": "small", "weights": str(save_weights(Small, folder / "two", seed=1)), "weight": 0.5},
    ]
    config = cls.Config(parts=parts)  # type: ignore[call-arg]
    return cls.build(config, cls.find_weights(config, None)).eval()


def _timm(name: str, size: int) -> Callable[[Path], Backbone]:
    def make(folder: Path) -> Backbone:
        backbone: Backbone = timm_models.load(name, timm_models.save(name, folder), image_size=size)
        return backbone

    return make


SHIPPED = families()
FAMILIES = {
    **{name: Family(lambda _, make=make: make(), make().config.image_size) for name, make in SHIPPED.items()},
    "dinov3, gated": Family(_dinov3_gated, 32),
    "fusion": Family(_fusion, 32),
    "timm, scaled ViT": Family(_timm("small_scaled", 32), 32),
    "timm, EVA": Family(_timm("small_dinov3", 32), 32),
    "timm, Swin": Family(_timm("small_swin", 32), 32),
}
"""The package's own small families, and others besides."""


@cache
def _pretrained(name: str) -> Backbone:
    with tempfile.TemporaryDirectory() as folder:
        return FAMILIES[name].make(Path(folder))


def fresh(name: str) -> Backbone:
    """A backbone of a family as it was pretrained, in evaluation mode."""
    backbone = copy.deepcopy(_pretrained(name))
    if backbone.uses_categories:
        backbone.condition(["cat", "cat"])
    backbone.requires_grad_(False)
    return backbone.eval()

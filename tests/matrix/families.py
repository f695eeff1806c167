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
from tests import small_diffusion, small_models
from tests.backbones import small_sam, test_dinov3, test_dinov3_convnext
from tests.backbones.test_dinov3 import Gated as GatedDinov3
from tests.backbones.test_dinov3 import Plain as PlainDinov3
from tests.backbones.timm import timm_models
from tests.small_models import Small, SmallGatedRegisters, save_weights


@dataclass(frozen=True)
class Family:
    """How a small backbone is made from files in a folder, and the side of its images in pixels."""

    make: Callable[[Path], Backbone]
    size: int

    def images(self) -> Tensor:
        """Two preprocessed images (2, 3, size, size)."""
        return torch.rand((2, 3, self.size, self.size), generator=torch.Generator().manual_seed(0)) * 2 - 1


def _dinov2(cls: type[Small]) -> Callable[[Path], Backbone]:
    return lambda folder: small_models.build(cls, save_weights(cls, folder))


def _dinov3(cls: type[PlainDinov3]) -> Callable[[Path], Backbone]:
    return lambda folder: test_dinov3.load(cls, save_weights(cls, folder))  # type: ignore[arg-type]


def _convnext(folder: Path) -> Backbone:
    test_dinov3_convnext.reference().save_pretrained(folder)  # type: ignore[operator]
    return test_dinov3_convnext.load(folder)


def _sam(folder: Path) -> Backbone:
    return small_sam.load(small_sam.save_checkpoint(folder / "sam.pth"))


def _diffusion(folder: Path) -> Backbone:
    cls = small_diffusion.SmallDiffusion
    return small_diffusion.build(cls, small_diffusion.save_pipeline(cls, folder))


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


FAMILIES = {
    "dinov2": Family(_dinov2(Small), 32),
    "dinov2, gated, registers": Family(_dinov2(SmallGatedRegisters), 32),
    "dinov3": Family(_dinov3(PlainDinov3), 32),
    "dinov3, gated": Family(_dinov3(GatedDinov3), 32),
    "dinov3_convnext": Family(_convnext, 64),
    "sam": Family(_sam, 128),
    "sd15": Family(_diffusion, 128),
    "fusion": Family(_fusion, 32),
    "timm, ViT": Family(_timm("small_scaled", 32), 32),
    "timm, EVA": Family(_timm("small_dinov3", 32), 32),
    "timm, Swin": Family(_timm("small_swin", 32), 32),
    "timm, ResNet": Family(_timm("resnet10t", 64), 64),
    "timm, ConvNeXt": Family(_timm("test_convnext", 64), 64),
}


@cache
def _pretrained(name: str) -> Backbone:
    with tempfile.TemporaryDirectory() as folder:
        return FAMILIES[name].make(Path(folder))


def fresh(name: str) -> Backbone:
    """A backbone of a family as it was pretrained, in evaluation mode."""
    backbone = copy.deepcopy(_pretrained(name))
    backbone.requires_grad_(False)
    return backbone.eval()

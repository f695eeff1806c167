"""Small models of the families' real classes, with random weights: what plugins are checked on, without a download."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors.torch import save_file

from peftcorr.backbones import dinov2, dinov3, dinov3_convnext, sam
from peftcorr.backbones.base import Backbone
from peftcorr.backbones.huggingface import HuggingFace, published
from peftcorr.backbones.randomised import randomised
from peftcorr.backbones.timm.base import create
from peftcorr.backbones.timm.model import named
from peftcorr.errors import PeftCorrError


def families() -> dict[str, Callable[[], Backbone]]:
    """By family what makes a small backbone of it, the same each time, frozen and evaluating.

    Stable Diffusion is left out where diffusers is not installed.
    """
    made: dict[str, Callable[[], Backbone]] = {
        "dinov2": partial(
            _huggingface, dinov2.Dinov2, dinov2.Variant(32, 3, 2, patch=8, pretrained_size=32), 32
        ),
        "dinov2, gated, registers": partial(
            _huggingface,
            dinov2.Dinov2,
            dinov2.Variant(32, 3, 2, patch=8, pretrained_size=32, gated_mlp=True, registers=4),
            32,
        ),
        "dinov3": partial(_huggingface, dinov3.Dinov3ViT, dinov3.Variant(32, 3, 2, 128, patch=8), 32),
        "dinov3_convnext": partial(
            _huggingface,
            dinov3_convnext.Dinov3ConvNext,
            dinov3_convnext.Variant((8, 16, 24, 40), (2, 1, 3, 2)),
            64,
        ),
        "sam": partial(
            _huggingface, sam.Sam, sam.Variant(32, 4, 2, (1, 3), window=3, neck=16, pretrained_size=128), 128
        ),
        "timm, ViT": partial(_timm, "test_vit", 64),
        "timm, ResNet": partial(_timm, "test_resnet", 64),
        "timm, ConvNeXt": partial(_timm, "test_convnext", 64),
    }
    try:
        from peftcorr.backbones.diffusion.small import small_diffusion
    except PeftCorrError:
        return made
    return {**made, "sd15": small_diffusion}


def _huggingface(family: type[HuggingFace], variant: Any, size: int) -> Backbone:
    cls = published(family, f"Small{family.__name__}", "Small.", "", variant)
    model_class, config = cls.architecture()
    backbone = cls(cls.Config(image_size=size), randomised(model_class(config)))
    return backbone.requires_grad_(False).eval()


def _timm(name: str, size: int) -> Backbone:
    cls = named(f"timm/{name}")
    config = cls.Config(image_size=size)
    with TemporaryDirectory() as folder:
        save_file(randomised(create(name, size)).state_dict(), Path(folder) / "model.safetensors")
        return cls.build(config, cls.find_weights(config, Path(folder))).requires_grad_(False).eval()

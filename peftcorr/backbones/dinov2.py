"""DINOv2 with and without registers, and the embedded ``tiny`` of the same architecture.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024; Darcet et al., "Vision
Transformers Need Registers", ICLR 2024. The models are those of transformers.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import transformers
from pydantic import Field
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone
from peftcorr.backbones.dino import IN_BLOCKS, STACKED, DinoViT
from peftcorr.backbones.huggingface import published
from peftcorr.backbones.identity import EMBEDDED, Weights, local_weights
from peftcorr.backbones.release import Names


@dataclass(frozen=True)
class Variant:
    """The shape of one published model."""

    width: int
    depth: int
    heads: int
    gated_mlp: bool = False
    registers: int = 0
    patch: int = 14
    pretrained_size: int = 518


class Dinov2(DinoViT):
    """A DINOv2 vision transformer; features are the patch tokens after the final norm."""

    class Config(Backbone.Config):
        """Options of the ``dinov2`` backbones."""

        positions: Literal["size", "meta"] = Field(
            default="size",
            exclude_if=lambda positions: positions == "size",
            description="positions at other sizes than the pretrained one: interpolated to the size of the grid, as in "
            "transformers, or scaled as in Meta's own code",
        )

    variant: ClassVar[Variant]
    licence = "Apache-2.0"
    layers = "encoder.layer"
    norm = "layernorm"
    plain_mlp = ("mlp.fc1", "mlp.fc2")

    @classmethod
    def settings(cls) -> tuple[type[Any], dict[str, Any]]:
        """See `HuggingFace.settings`."""
        variant = cls.variant
        settings: dict[str, Any] = {
            "hidden_size": variant.width,
            "num_hidden_layers": variant.depth,
            "num_attention_heads": variant.heads,
            "patch_size": variant.patch,
            "use_swiglu_ffn": variant.gated_mlp,
            "mlp_ratio": 4,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-6,
        }
        if not variant.registers:
            return transformers.Dinov2Model, settings
        return transformers.Dinov2WithRegistersModel, settings | {"num_register_tokens": variant.registers}

    @classmethod
    def architecture(cls) -> tuple[type[Any], Any]:
        """See `HuggingFace.architecture`; weights may have positions of another image size."""
        model_class, expected = super().architecture()
        expected.image_size = cls.variant.pretrained_size
        return model_class, expected

    @classmethod
    def release(cls) -> Names:
        """See `HuggingFace.release`."""
        return Names(
            makers="Meta",
            renamed={
                r"^embeddings\.patch_embeddings\.projection\.": "patch_embed.proj.",
                r"^embeddings\.position_embeddings$": "pos_embed",
                r"^embeddings\.": "",
                r"^encoder\.layer\.": "blocks.",
                r"^layernorm\.": "norm.",
                r"\.mlp\.down_proj\.": ".mlp.w3.",
                **IN_BLOCKS,
            },
            stacked={**STACKED, "mlp.gate_proj": ("mlp.w12", 0, 2), "mlp.up_proj": ("mlp.w12", 1, 2)},
            unread=re.compile(r"^mask_token$"),
        )

    @property
    def _scales(self) -> bool:
        """Whether positions are Meta's own; with registers those are interpolated as transformers does, antialiased."""
        meta = isinstance(self.config, Dinov2.Config) and self.config.positions == "meta"
        return meta and not self.variant.registers

    def _plain(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, changed = super()._plain()
        if not self._scales:
            return tensors, changed
        # transformers would interpolate in its own way: it gets the positions of this size, which it leaves alone.
        cells, name = self.config.image_size // self.stride, "embeddings.position_embeddings"
        positions = scaled_positions(tensors[name], cells, cells)
        return {**tensors, name: positions}, {**changed, "image_size": self.config.image_size}

    def _enter(self, images: Tensor) -> Tensor:
        if not self._scales:
            return super()._enter(images)
        embeddings = self.model.embeddings
        patches = embeddings.patch_embeddings(images)
        tokens = torch.cat([embeddings.cls_token.expand(len(patches), -1, -1), patches], 1)
        height, width = images.shape[-2] // self.stride, images.shape[-1] // self.stride
        entering: Tensor = embeddings.dropout(
            tokens + scaled_positions(embeddings.position_embeddings, height, width)
        )
        return entering


def scaled_positions(trained: Tensor, height: int, width: int) -> Tensor:
    """Positions of a grid as Meta's code for DINOv2 without registers scales them.

    Bicubic, not antialiased, by the factors (height + 0.1) / M and (width + 0.1) / M instead of height / M and
    width / M: cell i reads the trained grid at (i + 0.5) M / (height + 0.1) - 0.5. The tenth was to keep a rounding
    error from losing a row; the published figures have it.

    Args:
        trained: class token first, then M x M positions (1, 1 + M^2, D).
        height: rows of the grid.
        width: its columns.

    Returns:
        (1, 1 + height * width, D); of the trained grid, the trained positions themselves.
    """
    side = math.isqrt(trained.shape[1] - 1)
    if height == width == side:
        return trained
    grid = trained[:, 1:].float().transpose(1, 2).reshape(1, -1, side, side)
    factors = ((height + 0.1) / side, (width + 0.1) / side)
    scaled = nn.functional.interpolate(grid, scale_factor=factors, mode="bicubic")
    return torch.cat([trained[:, :1], scaled.flatten(2).transpose(1, 2).to(trained.dtype)], 1)


def _published(name: str, title: str, size: str, variant: Variant) -> type[Dinov2]:
    registers = ("with-registers-", " with registers") if variant.registers else ("", "")
    return published(
        Dinov2, name, f"DINOv2 {title}{registers[1]}.", f"facebook/dinov2-{registers[0]}{size}", variant
    )


Dinov2S14 = _published("Dinov2S14", "ViT-S/14", "small", Variant(384, 12, 6))
Dinov2B14 = _published("Dinov2B14", "ViT-B/14", "base", Variant(768, 12, 12))
Dinov2L14 = _published("Dinov2L14", "ViT-L/14", "large", Variant(1024, 24, 16))
Dinov2G14 = _published("Dinov2G14", "ViT-g/14", "giant", Variant(1536, 40, 24, gated_mlp=True))
Dinov2S14Reg = _published("Dinov2S14Reg", "ViT-S/14", "small", Variant(384, 12, 6, registers=4))
Dinov2B14Reg = _published("Dinov2B14Reg", "ViT-B/14", "base", Variant(768, 12, 12, registers=4))
Dinov2L14Reg = _published("Dinov2L14Reg", "ViT-L/14", "large", Variant(1024, 24, 16, registers=4))
Dinov2G14Reg = _published(
    "Dinov2G14Reg", "ViT-g/14", "giant", Variant(1536, 40, 24, gated_mlp=True, registers=4)
)


class Tiny(Dinov2):
    """The embedded ViT (192 wide, 6 deep, patch 8), pretrained without labels on rendered objects."""

    class Config(Dinov2.Config):
        """Options of ``tiny``."""

        image_size: int = Field(default=112, gt=0, description="side of the square input, in pixels")

    variant = Variant(192, 6, 3, patch=8, pretrained_size=128)

    @classmethod
    def embedded_weights(cls) -> Weights:
        """The weights inside the package; their sha256 is part of every record."""
        return local_weights(EMBEDDED / "tiny", official=True)

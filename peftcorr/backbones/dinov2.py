"""DINOv2 with and without registers, and the embedded ``tiny`` of the same architecture.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024; Darcet et al., "Vision
Transformers Need Registers", ICLR 2024. The models are those of transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import transformers
from pydantic import Field
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone, BlockSites, TokenState, check_size, parameters_of
from peftcorr.backbones.identity import EMBEDDED, Weights, local_weights
from peftcorr.backbones.loading import fetch, load_transformers
from peftcorr.backbones.saving import save_transformers

_SHAPE_KEYS = (
    "model_type",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "patch_size",
    "use_swiglu_ffn",
    "mlp_ratio",
    "num_register_tokens",
)


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


class Dinov2(Backbone):
    """A DINOv2 vision transformer; features are the patch tokens after the final norm."""

    variant: ClassVar[Variant]
    model: Any
    licence = "Apache-2.0"

    def __init__(self, config: Backbone.Config, model: Any):
        super().__init__(config)
        # Only masked pretraining reads it: a dead parameter must be neither counted nor trained.
        model.embeddings.mask_token = None
        model.requires_grad_(False)
        self.model = model
        self.stride = self.variant.patch
        self.channels = self.variant.width
        self.leading_tokens = 1 + self.variant.registers
        model.encoder.layer = model.encoder.layer[: self.tapped(self.variant.depth)]
        self._sites = [self._block_sites(index) for index in range(len(model.encoder.layer))]

    @classmethod
    def architecture(cls) -> tuple[type[Any], Any]:
        """The transformers class and its configuration, written out so that no hub has to be asked."""
        shape: dict[str, Any] = {
            "hidden_size": cls.variant.width,
            "num_hidden_layers": cls.variant.depth,
            "num_attention_heads": cls.variant.heads,
            "patch_size": cls.variant.patch,
            "image_size": cls.variant.pretrained_size,
            "use_swiglu_ffn": cls.variant.gated_mlp,
        }
        if cls.variant.registers:
            config = transformers.Dinov2WithRegistersConfig(
                num_register_tokens=cls.variant.registers, **shape
            )
            return transformers.Dinov2WithRegistersModel, config
        return transformers.Dinov2Model, transformers.Dinov2Config(**shape)

    @classmethod
    def build(cls, config: Backbone.Config, weights: Weights | None) -> Dinov2:
        """See `Backbone.build`."""
        check_size(config.image_size, cls.variant.patch)
        model_class, expected = cls.architecture()
        if weights is None:
            with torch.device("meta"):
                return cls(config, model_class(expected))
        folder = fetch(weights.id) if weights.folder is None else weights.folder
        return cls(config, load_transformers(model_class, expected, folder, _SHAPE_KEYS))

    def blocks(self) -> Sequence[nn.Module]:
        """The encoder's layers."""
        return list(self.model.encoder.layer)

    def sites(self) -> list[BlockSites]:
        """See `Backbone.sites`."""
        return self._sites

    def _block_sites(self, index: int) -> BlockSites:
        block = f"model.encoder.layer.{index}"
        gated = self.variant.gated_mlp
        roles: dict[str, tuple[str, ...]] = {
            "q": ("attention.q_proj",),
            "k": ("attention.k_proj",),
            "v": ("attention.v_proj",),
            "out": ("attention.o_proj",),
            "fc1": ("mlp.gate_proj", "mlp.up_proj") if gated else ("mlp.fc1",),
            "fc2": ("mlp.down_proj",) if gated else ("mlp.fc2",),
        }
        return BlockSites(
            block=block,
            width=self.variant.width,
            parameters=parameters_of(self.get_submodule(block)),
            linears={role: tuple(f"{block}.{name}" for name in names) for role, names in roles.items()},
            norm2=f"{block}.norm2",
            attention_output=f"{block}.layer_scale1",
            mlp_output=f"{block}.layer_scale2",
        )

    def final_norm(self) -> nn.Module:
        """The LayerNorm after the last block."""
        norm: nn.Module = self.model.layernorm
        return norm

    def save_pretrained(self, folder: Path) -> None:
        """See `Backbone.save_pretrained`: what transformers' ``Dinov2Model`` loads."""
        # The class there has a place for the mask token, although only masked pretraining reads it.
        mask_token = torch.zeros((1, self.channels))
        tensors = {**self.model.state_dict(), "embeddings.mask_token": mask_token}
        save_transformers(self.model.config, tensors, folder, num_hidden_layers=len(self.blocks()))

    def prefix(self, images: Tensor, k: int) -> TokenState:
        """See `Backbone.prefix`."""
        height, width = images.shape[-2] // self.stride, images.shape[-1] // self.stride
        tokens = self.model.embeddings(images)
        for block in self.blocks()[:k]:
            tokens = block(tokens)
        return TokenState(tokens, height, width)

    def tail(self, state: TokenState, k: int) -> Tensor:
        """See `Backbone.tail`: of an earlier block too, the tokens go through the final norm."""
        tokens = state.tokens
        for block in self.blocks()[k:]:
            tokens = block(tokens)
        patches: Tensor = self.model.layernorm(tokens)[:, 1 + self.variant.registers :].float()
        return patches.transpose(1, 2).reshape(len(patches), -1, state.height, state.width)


class Dinov2S14(Dinov2):
    """DINOv2 ViT-S/14."""

    variant = Variant(384, 12, 6)
    hub_id = "facebook/dinov2-small"


class Dinov2B14(Dinov2):
    """DINOv2 ViT-B/14."""

    variant = Variant(768, 12, 12)
    hub_id = "facebook/dinov2-base"


class Dinov2L14(Dinov2):
    """DINOv2 ViT-L/14."""

    variant = Variant(1024, 24, 16)
    hub_id = "facebook/dinov2-large"


class Dinov2G14(Dinov2):
    """DINOv2 ViT-g/14."""

    variant = Variant(1536, 40, 24, gated_mlp=True)
    hub_id = "facebook/dinov2-giant"


class Dinov2S14Reg(Dinov2):
    """DINOv2 ViT-S/14 with registers."""

    variant = Variant(384, 12, 6, registers=4)
    hub_id = "facebook/dinov2-with-registers-small"


class Dinov2B14Reg(Dinov2):
    """DINOv2 ViT-B/14 with registers."""

    variant = Variant(768, 12, 12, registers=4)
    hub_id = "facebook/dinov2-with-registers-base"


class Dinov2L14Reg(Dinov2):
    """DINOv2 ViT-L/14 with registers."""

    variant = Variant(1024, 24, 16, registers=4)
    hub_id = "facebook/dinov2-with-registers-large"


class Dinov2G14Reg(Dinov2):
    """DINOv2 ViT-g/14 with registers."""

    variant = Variant(1536, 40, 24, gated_mlp=True, registers=4)
    hub_id = "facebook/dinov2-with-registers-giant"


class Tiny(Dinov2):
    """The embedded ViT (192 wide, 6 deep, patch 8), pretrained without labels on rendered objects."""

    class Config(Backbone.Config):
        """Options of ``tiny``."""

        image_size: int = Field(default=112, gt=0, description="side of the square input, in pixels")

    variant = Variant(192, 6, 3, patch=8, pretrained_size=128)

    @classmethod
    def embedded_weights(cls) -> Weights:
        """The weights inside the package; their sha256 is part of every record."""
        return local_weights(EMBEDDED / "tiny", official=True)

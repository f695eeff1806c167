"""The image encoder of the Segment Anything Model (SAM).

Kirillov et al., "Segment Anything", ICCV 2023. A plain vision transformer of which all but four blocks attend within
windows of 14 x 14 patches (Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection", ECCV 2022:
ViTDet), with relative positions added to the attention (Li et al., "MViTv2", CVPR 2022). The model is that of
transformers; the mask decoder and the prompt encoder are never built.

Positions keep the shape they were trained with (a grid of 64 x 64; 127 relative positions an axis where a block sees
the whole image), and are interpolated in the forward pass wherever the image has another grid: neither counts nor
adapter files depend on the image size, and at 1024 pixels nothing is interpolated. SAM's own code has no other size:
absolute positions follow ViTDet's (detectron2, ``get_abs_pos``: bicubic, half-pixel centres), relative ones its and
SAM's ``get_rel_pos`` (linear), which transformers has too. Windows stay 14 x 14.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import transformers
from pydantic import Field
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone, BlockSites, TokenState, check_size, parameters_of
from peftcorr.backbones.fused import fused_state, split_projection
from peftcorr.backbones.identity import Weights
from peftcorr.backbones.loading import fetch, load_transformers
from peftcorr.backbones.sam_checkpoint import identify, load_checkpoint
from peftcorr.backbones.saving import save_transformers
from peftcorr.errors import PeftCorrError

_PATCH = 16
_SHAPE_KEYS = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "image_size",
    "patch_size",
    "mlp_dim",
    "window_size",
    "global_attn_indexes",
    "output_channels",
    "qkv_bias",
    "use_abs_pos",
    "use_rel_pos",
    "hidden_act",
    "layer_norm_eps",
)


class _Encoder(transformers.SamVisionModel):  # type: ignore[misc]
    """The vision model, which leaves the rest of a whole SAM in the file without a word."""

    _keys_to_ignore_on_load_unexpected: ClassVar = [
        r"^shared_image_embedding\.",
        r"^prompt_encoder\.",
        r"^mask_decoder\.",
    ]


@dataclass(frozen=True)
class Variant:
    """The shape of one published model; all blocks but `global_blocks` attend within windows."""

    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    window: int = 14
    neck: int = 256
    pretrained_size: int = 1024


class Sam(Backbone):
    """SAM's image encoder; features are its 256-channel embedding, or the last block's tokens."""

    class Config(Backbone.Config):
        """Options of the SAM backbones.

        With `layer` the neck reads an earlier block than the last, the only one it was trained on: ``trunk`` is the
        choice for earlier blocks as they are.
        """

        image_size: int = Field(default=1024, gt=0, description="side of the square input, in pixels")
        feature: Literal["neck", "trunk"] = Field(
            default="neck",
            description="the image embedding after the neck, or the last block's tokens (the neck is left out)",
        )

    variant: ClassVar[Variant]
    model: Any
    licence = "Apache-2.0"

    def __init__(self, config: Backbone.Config, model: Any):
        super().__init__(config)
        assert isinstance(config, Sam.Config)
        encoder = model.vision_encoder
        encoder.requires_grad_(False)
        encoder.layers = encoder.layers[: self.tapped(self.variant.depth)]
        if config.feature == "trunk":
            encoder.neck = None
        for layer in encoder.layers:
            split_projection(layer.attn, "qkv")
        self.model = encoder
        self.stride = _PATCH
        self.channels = self.variant.width if encoder.neck is None else self.variant.neck
        self._sites = [self._block_sites(index) for index in range(len(encoder.layers))]

    @classmethod
    def architecture(cls) -> Any:
        """The configuration of transformers, written out so that no hub has to be asked."""
        return transformers.SamVisionConfig(
            hidden_size=cls.variant.width,
            num_hidden_layers=cls.variant.depth,
            num_attention_heads=cls.variant.heads,
            image_size=cls.variant.pretrained_size,
            patch_size=_PATCH,
            window_size=cls.variant.window,
            global_attn_indexes=list(cls.variant.global_blocks),
            output_channels=cls.variant.neck,
        )

    @classmethod
    def find_weights(cls, config: Backbone.Config, given: Path | None) -> Weights:
        """See `Backbone.find_weights`: `given` is a folder, or a checkpoint of the segment-anything package.

        Raises:
            PeftCorrError: if it is neither.
        """
        if given is not None and (given.is_file() or given.suffix == ".pth"):
            return identify(given)
        return super().find_weights(config, given)

    @classmethod
    def build(cls, config: Backbone.Config, weights: Weights | None) -> Sam:
        """See `Backbone.build`."""
        check_size(config.image_size, _PATCH)
        expected = cls.architecture()
        if weights is None:
            with torch.device("meta"):
                return cls(config, transformers.SamVisionModel(expected))
        place = fetch(weights.id) if weights.folder is None else weights.folder
        if place.is_file():
            return cls(config, load_checkpoint(place, expected))
        return cls(config, load_transformers(_Encoder, expected, place, _SHAPE_KEYS))

    def blocks(self) -> Sequence[nn.Module]:
        """The encoder's layers."""
        return list(self.model.layers)

    def sites(self) -> list[BlockSites]:
        """See `Backbone.sites`.

        In a block with windows, what `attention_output` gives is (windows, 14, 14, D), padding included: a change
        token by token stays with its token, since the padding is cut off before the stream.
        """
        return self._sites

    def _block_sites(self, index: int) -> BlockSites:
        block = f"model.layers.{index}"
        roles = {
            "q": "attn.qkv.q",
            "k": "attn.qkv.k",
            "v": "attn.qkv.v",
            "out": "attn.proj",
            "fc1": "mlp.lin1",
            "fc2": "mlp.lin2",
        }
        return BlockSites(
            block=block,
            width=self.variant.width,
            parameters=parameters_of(self.get_submodule(block)),
            linears={role: (f"{block}.{name}",) for role, name in roles.items()},
            norm2=f"{block}.layer_norm2",
            attention_output=f"{block}.attn.proj",
            mlp_output=f"{block}.mlp",
        )

    def final_norm(self) -> None:
        """There is none: the norms of the neck are the neck's."""
        return

    def save_pretrained(self, folder: Path) -> None:
        """See `Backbone.save_pretrained`: what transformers' ``SamVisionModel`` loads.

        Raises:
            PeftCorrError: without the neck, which the class there always has.
        """
        if self.model.neck is None:
            raise PeftCorrError(
                "SAM with backbone.feature trunk cannot be exported: transformers has no such model."
            )
        tensors = {f"vision_encoder.{name}": tensor for name, tensor in fused_state(self.model).items()}
        save_transformers(self.model.config, tensors, folder, num_hidden_layers=len(self.blocks()))

    def positions(self, height: int, width: int) -> Tensor:
        """Absolute positions (1, height, width, D); the parameter itself on the grid it was trained on."""
        trained: Tensor = self.model.pos_embed
        if trained.shape[1:3] == (height, width):
            return trained
        resized = nn.functional.interpolate(
            trained.permute(0, 3, 1, 2), size=(height, width), mode="bicubic", align_corners=False
        )
        return resized.permute(0, 2, 3, 1)

    def prefix(self, images: Tensor, k: int) -> TokenState:
        """See `Backbone.prefix`; tokens are (B, h, w, D)."""
        # Not the embedding's own forward, which refuses any size but the pretrained one.
        tokens = self.model.patch_embed.projection(images).permute(0, 2, 3, 1)
        _, height, width, _ = tokens.shape
        tokens = tokens + self.positions(height, width)
        for block in self.blocks()[:k]:
            tokens = block(tokens)
        return TokenState(tokens, height, width)

    def tail(self, state: TokenState, k: int) -> Tensor:
        """See `Backbone.tail`."""
        tokens = state.tokens
        for block in self.blocks()[k:]:
            tokens = block(tokens)
        neck = self.model.neck
        features: Tensor = tokens.permute(0, 3, 1, 2) if neck is None else neck(tokens)
        return features.float()


class SamB(Sam):
    """SAM ViT-B/16."""

    variant = Variant(768, 12, 12, (2, 5, 8, 11))
    hub_id = "facebook/sam-vit-base"


class SamL(Sam):
    """SAM ViT-L/16."""

    variant = Variant(1024, 24, 16, (5, 11, 17, 23))
    hub_id = "facebook/sam-vit-large"


class SamH(Sam):
    """SAM ViT-H/16."""

    variant = Variant(1280, 32, 16, (7, 15, 23, 31))
    hub_id = "facebook/sam-vit-huge"

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

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import transformers
from pydantic import Field
from torch import Tensor, nn
from transformers.models.sam.modeling_sam import SamVisionAttention

from peftcorr.backbones.base import Backbone, TokenState
from peftcorr.backbones.fused import fused_state, split_projection
from peftcorr.backbones.huggingface import HuggingFaceViT, published
from peftcorr.backbones.release import Names
from peftcorr.errors import PeftCorrError


class _Encoder(transformers.SamVisionModel):  # type: ignore[misc]
    """The vision model, which leaves the rest of a whole SAM in the file without a word."""

    _keys_to_ignore_on_load_unexpected: ClassVar = [
        r"^shared_image_embedding\.",
        r"^prompt_encoder\.",
        r"^mask_decoder\.",
    ]


def _relative_positions(queries: int, keys: int, trained: Tensor) -> Tensor:
    """As transformers', (queries, keys, D), with its table of distances made where the positions are."""
    with trained.device:
        found: Tensor = SamVisionAttention.get_rel_pos(None, queries, keys, trained)
        return found


@dataclass(frozen=True)
class Variant:
    """The shape of one published model; all blocks but `global_blocks` attend within windows."""

    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    window: int = 14
    neck: int = 256
    patch: int = 16
    pretrained_size: int = 1024


class Sam(HuggingFaceViT):
    """SAM's image encoder; features are its 256-channel embedding, or the last block's tokens.

    In a block with windows, what the site `attention_output` gives is (windows, 14, 14, D), padding included: a change
    token by token stays with its token, since the padding is cut off before the stream.
    """

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
    licence = "Apache-2.0"
    pads_normalised = True  # as in the package's own preprocessing
    layers = "layers"
    places: ClassVar = {"norm2": "layer_norm2", "attention_output": "attn.proj", "mlp_output": "mlp"}

    def __init__(self, config: Backbone.Config, model: Any):
        assert isinstance(config, Sam.Config)
        encoder = model.vision_encoder
        super().__init__(config, encoder)
        if config.feature == "trunk":
            encoder.neck = None
        else:
            self.channels = self.variant.neck
        for layer in encoder.layers:
            split_projection(layer.attn, "qkv")
            layer.attn.get_rel_pos = _relative_positions

    @classmethod
    def settings(cls) -> tuple[type[Any], dict[str, Any]]:
        """See `HuggingFace.settings`."""
        return _Encoder, {
            "hidden_size": cls.variant.width,
            "num_hidden_layers": cls.variant.depth,
            "num_attention_heads": cls.variant.heads,
            "image_size": cls.variant.pretrained_size,
            "patch_size": cls.variant.patch,
            "mlp_dim": 4 * cls.variant.width,
            "window_size": cls.variant.window,
            "global_attn_indexes": list(cls.variant.global_blocks),
            "output_channels": cls.variant.neck,
            "qkv_bias": True,
            "use_abs_pos": True,
            "use_rel_pos": True,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-6,
        }

    @classmethod
    def release(cls) -> Names:
        """See `HuggingFace.release`."""
        return Names(
            makers="the segment-anything package",
            renamed={
                r"^vision_encoder\.": "",
                r"^patch_embed\.projection\.": "patch_embed.proj.",
                r"^layers\.": "blocks.",
                r"^neck\.conv1\.": "neck.0.",
                r"^neck\.layer_norm1\.": "neck.1.",
                r"^neck\.conv2\.": "neck.2.",
                r"^neck\.layer_norm2\.": "neck.3.",
                r"\.layer_norm(?=\d)": ".norm",
            },
            prefix="image_encoder.",
        )

    def _linears(self) -> dict[str, tuple[str, ...]]:
        return {
            "q": ("attn.qkv.q",),
            "k": ("attn.qkv.k",),
            "v": ("attn.qkv.v",),
            "out": ("attn.proj",),
            "fc1": ("mlp.lin1",),
            "fc2": ("mlp.lin2",),
        }

    def final_norm(self) -> None:
        """There is none: the norms of the neck are the neck's."""
        return

    def _plain(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        if self.model.neck is None:
            raise PeftCorrError(
                "SAM with backbone.feature trunk cannot be exported: transformers has no such model."
            )
        tensors = {f"vision_encoder.{name}": tensor for name, tensor in fused_state(self.model).items()}
        return tensors, super()._plain()[1]

    def positions(self, height: int, width: int) -> Tensor:
        """Absolute positions (1, height, width, D); the parameter itself on the grid it was trained on."""
        trained: Tensor = self.model.pos_embed
        if trained.shape[1:3] == (height, width):
            return trained
        resized = nn.functional.interpolate(
            trained.permute(0, 3, 1, 2), size=(height, width), mode="bicubic", align_corners=False
        )
        return resized.permute(0, 2, 3, 1)

    def _enter(self, images: Tensor) -> Tensor:
        # Not the embedding's own forward, which refuses any size but the pretrained one.
        tokens: Tensor = self.model.patch_embed.projection(images).permute(0, 2, 3, 1)
        return tokens + self.positions(*tokens.shape[1:3])

    def _read(self, state: TokenState) -> Tensor:
        neck = self.model.neck
        features: Tensor = state.tokens.permute(0, 3, 1, 2) if neck is None else neck(state.tokens)
        return features


SamB = published(Sam, "SamB", "SAM ViT-B/16.", "facebook/sam-vit-base", Variant(768, 12, 12, (2, 5, 8, 11)))
SamL = published(
    Sam, "SamL", "SAM ViT-L/16.", "facebook/sam-vit-large", Variant(1024, 24, 16, (5, 11, 17, 23))
)
SamH = published(
    Sam, "SamH", "SAM ViT-H/16.", "facebook/sam-vit-huge", Variant(1280, 32, 16, (7, 15, 23, 31))
)

"""The vision transformers of DINOv3.

Siméoni et al., "DINOv3", 2025 (arXiv:2508.10104). The models are those of transformers. Their shapes are those that
transformers' conversion of the published checkpoints prescribes and timm's definitions repeat; the tests hold them
to the latter. The ConvNeXts distilled from the same teacher are in `peftcorr.backbones.dinov3_convnext`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import transformers
from pydantic import Field
from torch import Tensor

from peftcorr.backbones.base import Backbone, TokenState
from peftcorr.backbones.dino import IN_BLOCKS, STACKED, DinoViT
from peftcorr.backbones.huggingface import published
from peftcorr.backbones.release import Names


@dataclass(frozen=True)
class Variant:
    """The shape of one published model.

    Attributes:
        hidden: width inside the MLP; a gated MLP has two layers of it.
        query_value_bias: whether queries and values have a bias; keys never do.
    """

    width: int
    depth: int
    heads: int
    hidden: int
    gated_mlp: bool = False
    query_value_bias: bool = True
    registers: int = 4
    patch: int = 16


_ROTARY_BASE = 100.0


def _agrees(key: str, tensor: Tensor) -> bool:
    """Whether Meta's files keep the constants that transformers' code has: no bias of keys, and the rotary periods.

    The bias of the keys is in their files, times a mask of zeros. The periods may have been rounded to bfloat16.
    """
    if key.endswith(".attn.qkv.bias_mask"):
        queries_keys_values = torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(tensor.numel() // 3)
        return torch.equal(tensor.float(), queries_keys_values)
    if key == "rope_embed.periods":
        count = tensor.numel()
        periods = _ROTARY_BASE ** (torch.arange(count) / count)
        return tensor.shape == periods.shape and torch.allclose(tensor.float(), periods, rtol=2**-7, atol=0)
    return True


class Dinov3ViT(DinoViT):
    """A DINOv3 vision transformer; features are the patch tokens after the final norm.

    A block with the plain MLP of ratio 4 has 12 D^2 + 14 D parameters: DINOv2's without the bias of the keys.
    """

    class Config(Backbone.Config):
        """Options of the ``dinov3_vit`` backbones."""

        image_size: int = Field(
            default=512,
            gt=0,
            description="side of the square input, in pixels, a multiple of 16; 512 gives 32 x 32 patches",
        )

    variant: ClassVar[Variant]
    licence = "DINOv3 License"
    layers = "model.layer"
    norm = "norm"
    plain_mlp = ("mlp.up_proj", "mlp.down_proj")

    def __init__(self, config: Backbone.Config, model: Any):
        _make_deterministic(model)
        super().__init__(config, model)

    @classmethod
    def settings(cls) -> tuple[type[Any], dict[str, Any]]:
        """See `HuggingFace.settings`."""
        variant = cls.variant
        return transformers.DINOv3ViTModel, {
            "hidden_size": variant.width,
            "num_hidden_layers": variant.depth,
            "num_attention_heads": variant.heads,
            "intermediate_size": variant.hidden,
            "use_gated_mlp": variant.gated_mlp,
            "hidden_act": "silu" if variant.gated_mlp else "gelu",
            "patch_size": variant.patch,
            "num_register_tokens": variant.registers,
            "query_bias": variant.query_value_bias,
            "key_bias": False,
            "value_bias": variant.query_value_bias,
            "proj_bias": True,
            "mlp_bias": True,
            "layer_norm_eps": 1e-5,
            "rope_theta": _ROTARY_BASE,
        }

    @classmethod
    def release(cls) -> Names:
        """See `HuggingFace.release`."""
        gated = {"gate": "w1", "up": "w2", "down": "w3"}
        layers = gated if cls.variant.gated_mlp else {"up": "fc1", "down": "fc2"}
        return Names(
            makers="Meta",
            renamed={
                r"^embeddings\.patch_embeddings\.": "patch_embed.proj.",
                r"^embeddings\.register_tokens$": "storage_tokens",
                r"^embeddings\.": "",
                r"^model\.layer\.": "blocks.",
                **{rf"\.mlp\.{ours}_proj\.": f".mlp.{theirs}." for ours, theirs in layers.items()},
                **IN_BLOCKS,
            },
            stacked=STACKED,
            # The norm of the class token of small crops is of pretraining alone.
            unread=re.compile(
                r"^mask_token$|^rope_embed\.periods$|\.attn\.qkv\.bias_mask$|^local_cls_norm\."
            ),
            agrees=_agrees,
        )

    def _run(self, state: TokenState, start: int, end: int | None = None) -> TokenState:
        # Rotary angles follow from the grid alone, so a state need not carry them. The module asks an image for its
        # shape, device and type only: one number, expanded, takes no memory.
        blank = torch.zeros((), device=state.tokens.device)
        image = blank.expand(1, 3, state.height * self.stride, state.width * self.stride)
        tokens, rotations = state.tokens, self.model.rope_embeddings(image)
        for block in self.blocks()[start:end]:
            tokens = block(tokens, position_embeddings=rotations)
        return replace(state, tokens=tokens)


def _make_deterministic(model: Any) -> None:
    """Leave the patches' coordinates where they are: the pretraining moved and scaled them at random."""
    rotary = model.rope_embeddings.config
    rotary.pos_embed_shift = rotary.pos_embed_jitter = rotary.pos_embed_rescale = None


def _published(name: str, title: str, variant: Variant) -> type[Dinov3ViT]:
    hub_id = f"facebook/dinov3-vit{name.lower()}-pretrain-lvd1689m"
    return published(Dinov3ViT, f"Dinov3ViT{name}", f"DINOv3 {title}.", hub_id, variant)


Dinov3ViTS16 = _published("S16", "ViT-S/16", Variant(384, 12, 6, 1536))
Dinov3ViTS16Plus = _published(
    "S16Plus", "ViT-S+/16: ViT-S with a gated MLP", Variant(384, 12, 6, 1536, gated_mlp=True)
)
Dinov3ViTB16 = _published("B16", "ViT-B/16", Variant(768, 12, 12, 3072))
Dinov3ViTL16 = _published("L16", "ViT-L/16", Variant(1024, 24, 16, 4096))
Dinov3ViTH16Plus = _published("H16Plus", "ViT-H+/16", Variant(1280, 32, 20, 5120, gated_mlp=True))
Dinov3ViT7B16 = _published(
    "7B16",
    "ViT-7B/16, the teacher of the others",
    Variant(4096, 40, 32, 8192, gated_mlp=True, query_value_bias=False),
)

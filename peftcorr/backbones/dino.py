"""What the vision transformers of DINOv2 and DINOv3 have in common."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone, TokenState
from peftcorr.backbones.huggingface import HuggingFaceViT

STACKED = {
    "attention.q_proj": ("attn.qkv", 0, 3),
    "attention.k_proj": ("attn.qkv", 1, 3),
    "attention.v_proj": ("attn.qkv", 2, 3),
}
"""Layers of a block that are one in Meta's files; see `Names.stacked`."""

IN_BLOCKS = {
    r"\.attention\.o_proj\.": ".attn.proj.",
    r"\.layer_scale(\d)\.lambda1$": r".ls\1.gamma",
}
"""Further names within a block in Meta's files; see `Names.renamed`."""


class DinoViT(HuggingFaceViT):
    """A class token and registers, then the patches, whose tokens after the final norm are the features.

    Attributes:
        norm: name of the final norm in the model.
        plain_mlp: names of the two layers of an MLP without gate.
    """

    norm: ClassVar[str]
    plain_mlp: ClassVar[tuple[str, str]]
    # One drop_path serves both branches: a hook on it could not tell them apart.
    places: ClassVar = {
        "norm2": "norm2",
        "attention_output": "layer_scale1",
        "mlp_output": "layer_scale2",
    }

    def __init__(self, config: Backbone.Config, model: Any):
        # Only masked pretraining reads it: a dead parameter must be neither counted nor trained.
        mask_shape = model.embeddings.mask_token.shape
        model.embeddings.mask_token = None
        super().__init__(config, model)
        self._mask_shape = mask_shape
        self.leading_tokens = 1 + self.variant.registers

    def _linears(self) -> dict[str, tuple[str, ...]]:
        first, second = self.plain_mlp
        gated = self.variant.gated_mlp
        return {
            "q": ("attention.q_proj",),
            "k": ("attention.k_proj",),
            "v": ("attention.v_proj",),
            "out": ("attention.o_proj",),
            "fc1": ("mlp.gate_proj", "mlp.up_proj") if gated else (first,),
            "fc2": ("mlp.down_proj",) if gated else (second,),
        }

    def final_norm(self) -> nn.Module:
        """The LayerNorm after the last block."""
        norm: nn.Module = getattr(self.model, self.norm)
        return norm

    def _plain(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, changed = super()._plain()
        # The class there has a place for the mask token, although only masked pretraining reads it.
        return {**tensors, "embeddings.mask_token": torch.zeros(self._mask_shape)}, changed

    def _enter(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.model.embeddings(images)
        return tokens

    def _read(self, state: TokenState) -> Tensor:
        return replace(state, tokens=self.final_norm()(state.tokens)).as_map(1 + self.variant.registers)

"""Plain vision transformers of timm: one width, one grid, blocks in a row (VisionTransformer, and EVA with DINOv3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from timm.models.eva import Eva, EvaBlock, EvaBlockPostNorm
from timm.models.vision_transformer import Block, ResPostBlock, VisionTransformer
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone, BlockSites, TokenState, check_size, sites_of
from peftcorr.backbones.timm.base import HEADS, TimmModel
from peftcorr.backbones.timm.layers import roles, separate_projections


class TimmVit(TimmModel):
    """A plain vision transformer; features are the patch tokens after its final norm, if it has one.

    Models that timm pools before the norm have none here: the features are those of timm's ``forward_features``.
    Positions are interpolated to each image's grid, as timm does (bicubic, antialiased).
    """

    def __init__(self, config: Backbone.Config, model: Any):
        super().__init__(config, model)
        for name in HEADS:
            if isinstance(getattr(model, name, None), nn.Module):
                setattr(model, name, None if name == "attn_pool" else nn.Identity())
        self.stride = model.patch_embed.feat_ratio()
        check_size(config.image_size, self.stride)
        self.channels = model.embed_dim
        self.leading_tokens = model.num_prefix_tokens
        model.blocks = model.blocks[: self.tapped(len(model.blocks))]
        for block in model.blocks:
            separate_projections(block)
        self._sites = [self._block_sites(index) for index in range(len(model.blocks))]
        self._settle()

    def blocks(self) -> Sequence[nn.Module]:
        """The transformer's blocks."""
        return list(self.model.blocks)

    def _block_sites(self, index: int) -> BlockSites:
        block = self.model.blocks[index]
        # EVA's LayerScale is a bare parameter, so that the drop path is the first module whose output is scaled.
        serial = isinstance(block, Block | ResPostBlock | EvaBlock | EvaBlockPostNorm)
        return sites_of(
            self,
            f"model.blocks.{index}",
            self.channels,
            roles(block),
            norm2="norm2" if isinstance(block, Block | EvaBlock) else None,
            attention_output="drop_path1" if serial else None,
            mlp_output="drop_path2" if serial else None,
        )

    def final_norm(self) -> nn.Module | None:
        """The norm after the last block."""
        norm: nn.Module = self.model.norm
        return None if isinstance(norm, nn.Identity) else norm

    def _enter(self, images: Tensor) -> Tensor:
        model = self.model
        embedded: Tensor = model.norm_pre(model._pos_embed(model.patch_embed(images)))
        return embedded

    def _read(self, state: TokenState) -> Tensor:
        return replace(state, tokens=self.model.norm(state.tokens)).as_map(self.model.num_prefix_tokens)


class TimmEva(TimmVit):
    """EVA, EVA-02, DINOv3 and the other transformers with rotary positions."""

    def __init__(self, config: Backbone.Config, model: Any):
        super().__init__(config, model)
        if model.rope_mixed:  # each block has frequencies of its own: those of blocks cut off are dead
            depth = len(model.blocks)
            model.rope.freqs = nn.Parameter(model.rope.freqs.detach()[:, :depth].clone(), requires_grad=False)
            model.rope.depth = depth
        if model.rope is not None:
            for block in model.blocks:
                block.attn.register_forward_pre_hook(_rotate_patches_alone, with_kwargs=True)

    def _enter(self, images: Tensor) -> Tensor:
        model = self.model
        tokens, _ = model._pos_embed(model.patch_embed(images))
        embedded: Tensor = model.norm_pre(tokens)
        return embedded

    def _run(self, state: TokenState, start: int, end: int | None = None) -> TokenState:
        model, tokens = self.model, state.tokens
        grid = [state.height, state.width]
        positions: Any = None if model.rope is None else model.rope.get_embed(shape=grid)
        for index in range(len(model.blocks))[start:end]:
            tokens = model.blocks[index](tokens, rope=positions[index] if model.rope_mixed else positions)
        return replace(state, tokens=tokens)


def class_of(model: nn.Module) -> type[TimmVit] | None:
    """The class that a plain vision transformer is wrapped in; None for any other model."""
    if isinstance(model, Eva):
        return TimmEva
    return TimmVit if isinstance(model, VisionTransformer) else None


def _rotate_patches_alone(attention: Any, inputs: tuple[Tensor, ...], options: dict[str, Any]) -> None:
    # Prompts that a strategy puts before the patches have no position: they lengthen the unrotated beginning.
    attention.num_prefix_tokens = inputs[0].shape[1] - options["rope"].shape[-2]

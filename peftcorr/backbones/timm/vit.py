"""Plain vision transformers of timm: one width, one grid, blocks in a row (VisionTransformer, and EVA with DINOv3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.models.eva import Eva, EvaBlock, EvaBlockPostNorm
from timm.models.vision_transformer import Block, ResPostBlock, VisionTransformer
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone, BlockSites, TokenState, check_size, parameters_of
from peftcorr.backbones.timm.layers import roles, separate_projections
from peftcorr.backbones.timm.model import Timm

_HEADS = ("head", "head_dist", "fc_norm", "attn_pool")


class TimmVit(Timm):
    """A plain vision transformer; features are the patch tokens after its final norm, if it has one.

    Models that timm pools before the norm have none here: the features are those of timm's ``forward_features``.
    Positions are interpolated to each image's grid, as timm does (bicubic, antialiased).
    """

    def __init__(self, config: Backbone.Config, model: Any):
        super().__init__(config, model)
        for name in _HEADS:
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

    def sites(self) -> list[BlockSites]:
        """See `Backbone.sites`."""
        return self._sites

    def _block_sites(self, index: int) -> BlockSites:
        name = f"model.blocks.{index}"
        block = self.get_submodule(name)
        # EVA's LayerScale is a bare parameter, so that the drop path is the first module whose output is scaled.
        serial = isinstance(block, Block | ResPostBlock | EvaBlock | EvaBlockPostNorm)
        pre_norm = isinstance(block, Block | EvaBlock)
        return BlockSites(
            block=name,
            width=self.channels,
            parameters=parameters_of(block),
            linears={
                role: tuple(f"{name}.{layer}" for layer in layers) for role, layers in roles(block).items()
            },
            norm2=f"{name}.norm2" if pre_norm else None,
            attention_output=f"{name}.drop_path1" if serial else None,
            mlp_output=f"{name}.drop_path2" if serial else None,
        )

    def final_norm(self) -> nn.Module | None:
        """The norm after the last block."""
        norm: nn.Module = self.model.norm
        return None if isinstance(norm, nn.Identity) else norm

    def _embed(self, images: Tensor) -> Tensor:
        model = self.model
        embedded: Tensor = model.norm_pre(model._pos_embed(model.patch_embed(images)))
        return embedded

    def _run(self, state: TokenState, blocks: range) -> Tensor:
        tokens = state.tokens
        for index in blocks:
            tokens = self.model.blocks[index](tokens)
        return tokens

    def prefix(self, images: Tensor, k: int) -> TokenState:
        """See `Backbone.prefix`."""
        height, width = images.shape[-2] // self.stride, images.shape[-1] // self.stride
        embedded = TokenState(self._embed(images), height, width)
        return TokenState(self._run(embedded, range(k)), height, width)

    def tail(self, state: TokenState, k: int) -> Tensor:
        """See `Backbone.tail`: of an earlier block too, the tokens go through the final norm."""
        tokens = self._run(state, range(k, len(self.model.blocks)))
        patches: Tensor = self.model.norm(tokens)[:, self.model.num_prefix_tokens :].float()
        return patches.transpose(1, 2).reshape(len(patches), -1, state.height, state.width)


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

    def _embed(self, images: Tensor) -> Tensor:
        model = self.model
        tokens, _ = model._pos_embed(model.patch_embed(images))
        embedded: Tensor = model.norm_pre(tokens)
        return embedded

    def _run(self, state: TokenState, blocks: range) -> Tensor:
        model, tokens = self.model, state.tokens
        grid = [state.height, state.width]
        positions: Any = None if model.rope is None else model.rope.get_embed(shape=grid)
        for index in blocks:
            tokens = model.blocks[index](tokens, rope=positions[index] if model.rope_mixed else positions)
        return tokens


def class_of(model: nn.Module) -> type[TimmVit] | None:
    """The class that a plain vision transformer is wrapped in; None for any other model."""
    if isinstance(model, Eva):
        return TimmEva
    return TimmVit if isinstance(model, VisionTransformer) else None


def _rotate_patches_alone(attention: Any, inputs: tuple[Tensor, ...], options: dict[str, Any]) -> None:
    # Prompts that a strategy puts before the patches have no position: they lengthen the unrotated beginning.
    attention.num_prefix_tokens = inputs[0].shape[1] - options["rope"].shape[-2]

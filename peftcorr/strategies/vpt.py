"""Visual prompt tuning. Jia et al., "Visual Prompt Tuning", ECCV 2022."""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone
from peftcorr.errors import PeftCorrError
from peftcorr.strategies.base import Blocks, BlockStrategy, Strategy, inject


class Prompts(nn.Module):
    """Tokens (P, D) that stand in the stream from the entrance of one block to the end of one.

    Args:
        count: P.
        width: D.
        patch: side of a patch in pixels, which the initialisation depends on.
        leading: tokens that stay before the prompts.
        dropout: in training, of single values.
    """

    def __init__(self, count: int, width: int, patch: int, leading: int, dropout: float):
        super().__init__()
        bound = math.sqrt(6 / (3 * patch**2 + width))
        self.tokens = nn.Parameter(torch.empty(count, width).uniform_(-bound, bound))
        self.dropout = dropout
        self.leading = leading

    def insert(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Forward pre-hook of the first block: (B, N, D) to (B, N + P, D); what else the block takes stays."""
        stream = inputs[0]
        prompts = self.tokens.expand(len(stream), -1, -1)
        prompts = nn.functional.dropout(prompts, self.dropout, self.training).to(stream.dtype)
        longer = torch.cat((stream[:, : self.leading], prompts, stream[:, self.leading :]), dim=1)
        return (longer, *inputs[1:])

    def remove(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        """Forward hook of the last block: (B, N + P, D) to (B, N, D); the stream may be the first of a tuple."""
        if isinstance(output, tuple):
            return (self._without(output[0]), *output[1:])
        return self._without(output)

    def _without(self, stream: Tensor) -> Tensor:
        after = self.leading + len(self.tokens)
        return torch.cat((stream[:, : self.leading], stream[:, after:]), dim=1)


def prompt(prompts: Prompts, blocks: list[nn.Module]) -> None:
    """Let consecutive blocks run with prompts, inserted before the first and removed after the last."""
    for block in blocks:
        for module in block.modules():
            # timm's rotary attention counts the tokens before the patches, which it leaves unrotated.
            unrotated = getattr(module, "num_prefix_tokens", None)
            if isinstance(unrotated, int):
                module.num_prefix_tokens = unrotated + len(prompts.tokens)  # type: ignore[assignment]
    blocks[0].register_forward_pre_hook(prompts.insert)
    blocks[-1].register_forward_hook(prompts.remove)


class Vpt(BlockStrategy):
    """Learned tokens beside the patches; features do not start as they were.

    Drawn from U(-v, v) with v = sqrt(6 / (3 p^2 + D)) for patches of side p, as in the paper. Deep: every block has its
    own prompts and drops them at its end. Shallow: they go in before the first block and out after the last.
    """

    starts_changed = True

    class Config(Strategy.Config):
        """Options of ``vpt``."""

        prompts: int = Field(default=10, ge=1, description="how many, for each block if deep")
        deep: bool = Field(default=True, description="whether every block has prompts of its own")
        dropout: float = Field(default=0.0, ge=0, lt=1, description="of the prompts, in training")
        blocks: Blocks = Field(
            default="all", description="that get prompts; if not deep, prompts run from the first to the last"
        )

    config: Config

    def apply(self, backbone: Backbone) -> None:
        """Inject the prompts, after the leading tokens.

        Raises:
            PeftCorrError: if the backbone's stream is no sequence of tokens that all blocks attend to.
        """
        leading = backbone.leading_tokens
        if leading is None:
            raise PeftCorrError(
                "The strategy vpt needs a backbone whose blocks all attend to one sequence of tokens, which "
                f"{type(backbone).__name__} is not: choose another strategy."
            )
        sites = self.sites(backbone)
        for start in sites if self.config.deep else sites[:1]:
            prompts = Prompts(self.config.prompts, start.width, backbone.stride, leading, self.config.dropout)
            inject(backbone, start.block, "prompts", prompts)
            order = [site.block for site in backbone.sites()]
            last = start if self.config.deep else sites[-1]
            run = slice(order.index(start.block), order.index(last.block) + 1)
            prompt(prompts, list(backbone.blocks())[run])

    def expected_parameters(self, backbone: Backbone) -> int:
        """L P D if deep, else P D, for P prompts a block in L blocks of width D."""
        sites = self.sites(backbone)
        return sum(self.config.prompts * site.width for site in (sites if self.config.deep else sites[:1]))

    def learning_rate(self) -> float:
        """Prompts are single vectors, far from where they will be."""
        return 3e-3

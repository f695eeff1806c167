"""Tuning of the norm layers. For transformers, Zhao et al., "Tuning LayerNorm in Attention", ICLR 2024."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from peftcorr.backbones.base import Backbone
from peftcorr.strategies.base import Blocks, Strategy, chosen_blocks, first_block
from peftcorr.strategies.pretrained import norm_parameters
from peftcorr.strategies.unfreezing import Unfreezing


class Norm(Unfreezing):
    """Weights and biases of every norm layer of the chosen blocks."""

    class Config(Strategy.Config):
        """Options of ``norm``."""

        blocks: Blocks = "all"
        final_norm: bool = Field(default=True, description="train the norm after the last block too")

    config: Config

    def unfrozen(self, backbone: Backbone) -> list[nn.Parameter]:
        """The norms' parameters: 4 D a block with two LayerNorms, 2 D the final norm."""
        sites = chosen_blocks(backbone, self.config.blocks)
        modules: list[nn.Module | None] = [backbone.get_submodule(site.block) for site in sites]
        if self.config.final_norm:
            modules.append(backbone.final_norm())
        return [own for module in modules if module is not None for own in norm_parameters(module).values()]

    def first_trainable_block(self, backbone: Backbone) -> int:
        """The first of the chosen blocks."""
        return first_block(backbone, self.config.blocks)

    def learning_rate(self) -> float:
        """Few parameters, each with a whole channel behind it."""
        return 1e-3

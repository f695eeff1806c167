"""Tuning of the norm layers. For transformers, Zhao et al., "Tuning LayerNorm in Attention", ICLR 2024."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from peftcorr.strategies.base import Blocks, Strategy
from peftcorr.strategies.pretrained import norm_parameters
from peftcorr.strategies.unfreezing import BlockParameters


class Norm(BlockParameters):
    """Weights and biases of every norm layer of the chosen blocks."""

    class Config(Strategy.Config):
        """Options of ``norm``."""

        blocks: Blocks = "all"
        final_norm: bool = Field(default=True, description="train the norm after the last block too")

    config: Config

    def of(self, module: nn.Module) -> dict[str, nn.Parameter]:
        """The norms' parameters: 4 D a block with two LayerNorms, 2 D the final norm."""
        return norm_parameters(module)

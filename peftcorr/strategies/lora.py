"""LoRA, through peft. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022."""

from __future__ import annotations

from pydantic import Field, field_validator

from peftcorr.strategies.base import Blocks, Strategy
from peftcorr.strategies.tuners.catalogue import LORA
from peftcorr.strategies.tuners.peft_strategies import PeftStrategy, Role


class Lora(PeftStrategy):
    """A low-rank update W + (alpha / rank) B A of chosen linear layers or convolutions.

    B starts at zero, so features stay as they were. It trains rank (in + out) a layer: 4 r D L for q and v of L blocks
    of width D. A convolution has rank (in kh kw + out / groups): of the two factors A has the kernel, and B the groups.
    """

    class Config(Strategy.Config):
        """Options of ``lora``."""

        rank: int = Field(default=8, ge=1, description="of the update")
        alpha: float = Field(default=8.0, gt=0, description="the update is multiplied by alpha / rank")
        targets: list[Role] = Field(
            default=["q", "v"], min_length=1, description="roles of the adapted layers"
        )
        blocks: Blocks = "all"
        dropout: float = Field(default=0.0, ge=0, lt=1, description="of the update's input, in training")

        @field_validator("targets")
        @classmethod
        def _once(cls, targets: list[Role]) -> list[Role]:
            if len(set(targets)) < len(targets):
                raise ValueError("each target may be named once")
            return targets

    config: Config

    def __init__(self, config: Config):
        options = {"r": config.rank, "lora_alpha": config.alpha, "lora_dropout": config.dropout}
        super().__init__(config, LORA, options)

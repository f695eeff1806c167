"""LoRA, through peft. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022."""

from __future__ import annotations

from typing import Literal

import peft
from pydantic import Field, field_validator

from peftcorr.backbones.base import Backbone
from peftcorr.strategies.base import Blocks, Strategy, first_block, layers_of
from peftcorr.strategies.tuners.counts import low_rank
from peftcorr.strategies.tuners.form import PeftForm, peft_form
from peftcorr.strategies.tuners.injection import fitted, inject_tuner, merge_layers, pattern

Role = Literal["q", "k", "v", "out", "fc1", "fc2", "conv"]


class Lora(Strategy):
    """A low-rank update W + (alpha / rank) B A of chosen linear layers or convolutions."""

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

    def targets(self, backbone: Backbone) -> list[str]:
        """Full names of the layers that are adapted."""
        return layers_of(backbone, self.config.blocks, self.config.targets)

    def _peft_config(self, targets: list[str] | str, feedforward: object = None) -> peft.LoraConfig:
        return peft.LoraConfig(
            r=self.config.rank,
            lora_alpha=self.config.alpha,
            lora_dropout=self.config.dropout,
            target_modules=targets,
            bias="none",
        )

    def apply(self, backbone: Backbone) -> None:
        """Wrap the targets with peft's LoRA layers; B starts at zero, so features stay as they were.

        Raises:
            PeftCorrError: if a target is a convolution that peft cannot adapt: dilated, or of groups that do not
                divide the rank.
        """
        names = self.targets(backbone)
        self.expected_parameters(backbone)  # names a layer that does not fit in our words
        inject_tuner(backbone, self._peft_config(pattern(names)), "lora", names)

    def expected_parameters(self, backbone: Backbone) -> int:
        """Sum of rank (in + out) over the targets: 4 r D L for q and v of L blocks of width D.

        A convolution has rank (in kh kw + out / groups): of the two factors A has the kernel, and B the groups.
        """
        rank = {"r": self.config.rank}
        names = self.targets(backbone)
        return sum(fitted(backbone, name, "lora", lambda shape: low_rank(shape, rank)) for name in names)

    def first_trainable_block(self, backbone: Backbone) -> int:
        """The first adapted block."""
        return first_block(backbone, self.config.blocks)

    def merge(self, backbone: Backbone) -> None:
        """Add B A to the weights and take the LoRA layers out."""
        merge_layers(backbone, self.targets(backbone), "LoRA")

    def peft_form(self, backbone: Backbone) -> PeftForm | None:
        """See `Strategy.peft_form`."""
        return peft_form(backbone, self._peft_config, self.targets(backbone), [])

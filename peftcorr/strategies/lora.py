"""LoRA, through peft. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022."""

from __future__ import annotations

from typing import Literal

import peft
from peft.tuners.tuners_utils import BaseTunerLayer
from pydantic import Field, field_validator
from torch import nn

from peftcorr.backbones.base import Backbone
from peftcorr.errors import PeftCorrError
from peftcorr.strategies.base import Blocks, Strategy, first_block, layers_of

Role = Literal["q", "k", "v", "out", "fc1", "fc2"]


class Lora(Strategy):
    """A low-rank update W + (alpha / rank) B A of chosen linear layers."""

    class Config(Strategy.Config):
        """Options of ``lora``."""

        rank: int = Field(default=8, ge=1)
        alpha: float = Field(default=8.0, gt=0)
        targets: list[Role] = Field(default=["q", "v"], min_length=1)
        blocks: Blocks = "all"
        dropout: float = Field(default=0.0, ge=0, lt=1)

        @field_validator("targets")
        @classmethod
        def _once(cls, targets: list[Role]) -> list[Role]:
            if len(set(targets)) < len(targets):
                raise ValueError("each target may be named once")
            return targets

    config: Config

    def targets(self, backbone: Backbone) -> list[str]:
        """Full names of the linear layers that are adapted."""
        return layers_of(backbone, self.config.blocks, self.config.targets)

    def apply(self, backbone: Backbone) -> None:
        """Wrap the targets with peft's LoRA layers; B starts at zero, so features stay as they were."""
        config = peft.LoraConfig(
            r=self.config.rank,
            lora_alpha=self.config.alpha,
            lora_dropout=self.config.dropout,
            target_modules=self.targets(backbone),
            bias="none",
        )
        peft.inject_adapter_in_model(config, backbone)

    def expected_parameters(self, backbone: Backbone) -> int:
        """Sum of rank (in + out) over the targets: 4 r D L for q and v of L blocks of width D."""
        total = 0
        for name in self.targets(backbone):
            linear = backbone.get_submodule(name)
            base = linear.get_base_layer() if isinstance(linear, BaseTunerLayer) else linear
            assert isinstance(base, nn.Linear)
            total += self.config.rank * (base.in_features + base.out_features)
        return total

    def first_trainable_block(self, backbone: Backbone) -> int:
        """The first adapted block."""
        return first_block(backbone, self.config.blocks)

    def merge(self, backbone: Backbone) -> None:
        """Add B A to the weights and take the LoRA layers out."""
        for name in self.targets(backbone):
            layer = backbone.get_submodule(name)
            if not isinstance(layer, BaseTunerLayer):
                raise PeftCorrError("This backbone carries no LoRA to merge: apply the strategy first.")
            layer.merge(safe_merge=True)
            backbone.set_submodule(name, layer.get_base_layer())

"""Fine-tune the last k blocks, all else frozen."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from peftcorr.backbones.base import Backbone, parameters_of
from peftcorr.errors import PeftCorrError
from peftcorr.strategies.base import Strategy
from peftcorr.strategies.pretrained import pretrained_parameters
from peftcorr.strategies.unfreezing import Unfreezing


class LastK(Unfreezing):
    """The last k blocks in full, and the final norm."""

    class Config(Strategy.Config):
        """Options of ``last_k``."""

        k: int = Field(default=1, ge=1, description="how many blocks are trained")
        final_norm: bool = Field(default=True, description="train the norm after the last block too")

    config: Config

    def _trained(self, backbone: Backbone) -> list[nn.Module]:
        blocks = backbone.blocks()
        if self.config.k > len(blocks):
            raise PeftCorrError(f"strategy.k is {self.config.k}, but this backbone has {len(blocks)} blocks.")
        norm = backbone.final_norm() if self.config.final_norm else None
        return [*blocks[-self.config.k :], *([norm] if norm is not None else [])]

    def unfrozen(self, backbone: Backbone) -> list[nn.Parameter]:
        """All parameters of the blocks."""
        modules = self._trained(backbone)
        return [parameter for module in modules for parameter in pretrained_parameters(module).values()]

    def expected_parameters(self, backbone: Backbone) -> int:
        """What the blocks had when pretrained, and the final norm's weight and bias.

        That is k (12 D^2 + 15 D), plus 2 D with the final norm, for DINOv2 with the plain MLP of ratio 4.
        """
        blocks = sum(site.parameters for site in backbone.sites()[-self.config.k :])
        norm = backbone.final_norm() if self.config.final_norm else None
        return blocks + (parameters_of(norm) if norm is not None else 0)

    def first_trainable_block(self, backbone: Backbone) -> int:
        """The first of the last k."""
        return len(backbone.blocks()) - self.config.k

    def learning_rate(self) -> float:
        """Whole blocks want smaller steps than fresh low-rank matrices."""
        return 1e-4

"""Fine-tune the last k blocks, all else frozen."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from peftcorr.backbones.base import Backbone
from peftcorr.errors import PeftCorrError
from peftcorr.strategies.base import Strategy


class LastK(Strategy):
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

    def apply(self, backbone: Backbone) -> None:
        """Unfreeze the blocks."""
        for module in self._trained(backbone):
            module.requires_grad_(True)

    def expected_parameters(self, backbone: Backbone) -> int:
        """Per block its two norms, its linear layers with their biases, and two LayerScales.

        That is k (12 D^2 + 15 D), plus 2 D with the final norm, for DINOv2 with the plain MLP of ratio 4.
        """
        blocks = 0
        for site in backbone.sites()[-self.config.k :]:
            for name in (linear for names in site.linears.values() for linear in names):
                linear = backbone.get_submodule(name)
                assert isinstance(linear, nn.Linear)
                blocks += linear.in_features * linear.out_features + (
                    linear.out_features if linear.bias is not None else 0
                )
            blocks += 2 * 2 * site.width + 2 * site.width
        width = backbone.sites()[-1].width
        return blocks + (2 * width if self.config.final_norm and backbone.final_norm() is not None else 0)

    def first_trainable_block(self, backbone: Backbone) -> int:
        """The first of the last k."""
        return len(backbone.blocks()) - self.config.k

    def learning_rate(self) -> float:
        """Whole blocks want smaller steps than fresh low-rank matrices."""
        return 1e-4

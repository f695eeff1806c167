"""A small projection on frozen features, as in probing: what adapting the backbone itself has to beat."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone
from peftcorr.errors import PeftCorrError
from peftcorr.strategies.base import Strategy, inject


class Projection(nn.Module):
    """A linear map of each cell's feature, or W_2 GELU(W_1 x); added to x, from zero, where the width stays.

    So a projection to as many channels as there were is the identity at the start, exactly in any precision.
    """

    def __init__(self, inputs: int, hidden: int | None, outputs: int):
        super().__init__()
        self.inputs = inputs
        self.residual = inputs == outputs
        last = nn.Conv2d(inputs if hidden is None else hidden, outputs, 1)
        if self.residual:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        layers = [last] if hidden is None else [nn.Conv2d(inputs, hidden, 1), nn.GELU(), last]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C', h, w), float32."""
        projected: Tensor = self.layers(features).float()
        return features + projected if self.residual else projected


class Head(Strategy):
    """A projection of the frozen features, linear or with one hidden layer."""

    class Config(Strategy.Config):
        """Options of ``head``."""

        channels: int | None = Field(
            default=None, ge=1, description="of the new features; null: as many as the backbone has"
        )
        hidden: int | None = Field(default=None, ge=1, description="width of a hidden layer; null: none")

    config: Config

    def __init__(self, config: Config):
        super().__init__(config)
        self.starts_changed = config.channels is not None

    def apply(self, backbone: Backbone) -> None:
        """Put the projection behind the feature map, whose channels follow.

        Raises:
            PeftCorrError: if the backbone has a head already.
        """
        if not isinstance(backbone.head, nn.Identity):
            raise PeftCorrError("The strategy head finds a head on this backbone already: apply one only.")
        outputs = self.config.channels or backbone.channels
        inject(backbone, "", "head", Projection(backbone.channels, self.config.hidden, outputs))
        backbone.channels = outputs

    def expected_parameters(self, backbone: Backbone) -> int:
        """C C' + C' from C to C' channels; C h + h + h C' + C' with h hidden ones."""
        head = backbone.head
        inputs = head.inputs if isinstance(head, Projection) else backbone.channels
        outputs = self.config.channels or inputs
        hidden = self.config.hidden
        if hidden is None:
            return inputs * outputs + outputs
        return inputs * hidden + hidden + hidden * outputs + outputs

    def first_trainable_block(self, backbone: Backbone) -> int:
        """Beyond the last: all blocks may be computed once."""
        return len(backbone.blocks())

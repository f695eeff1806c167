"""Fine-tune everything: what parameter-efficient methods are measured against."""

from __future__ import annotations

from torch import nn

from peftcorr.backbones.base import Backbone
from peftcorr.strategies.pretrained import pretrained_parameters
from peftcorr.strategies.unfreezing import Unfreezing


class Full(Unfreezing):
    """All parameters that take part in the features, the embeddings included."""

    def unfrozen(self, backbone: Backbone) -> list[nn.Parameter]:
        """All of them: of DINOv2 ViT-S/14 22,056,192."""
        return list(pretrained_parameters(backbone).values())

    def learning_rate(self) -> float:
        """A pretrained encoder is soon forgotten."""
        return 3e-5

"""The baseline: nothing is trained."""

from peftcorr.backbones.base import Backbone
from peftcorr.strategies.base import Strategy


class Frozen(Strategy):
    """The pretrained backbone as it is."""

    def apply(self, backbone: Backbone) -> None:
        """Leave everything frozen."""

    def expected_parameters(self, backbone: Backbone) -> int:
        """None."""
        return 0

    def trains(self) -> bool:
        """No."""
        return False

    def first_trainable_block(self, backbone: Backbone) -> int:
        """Beyond the last."""
        return len(backbone.blocks())

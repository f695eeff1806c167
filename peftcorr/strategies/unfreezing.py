"""Strategies that train some of the backbone's own parameters and add none."""

from __future__ import annotations

from abc import abstractmethod

from torch import nn

from peftcorr.backbones.base import Backbone
from peftcorr.errors import PeftCorrError
from peftcorr.strategies.base import BlockStrategy, Strategy


class Unfreezing(Strategy):
    """Some of the backbone's own parameters; features start as they were, and there is nothing to merge."""

    @abstractmethod
    def unfrozen(self, backbone: Backbone) -> list[nn.Parameter]:
        """The parameters that are trained."""

    def apply(self, backbone: Backbone) -> None:
        """Unfreeze them.

        Raises:
            PeftCorrError: if this backbone has none of them.
        """
        parameters = self.unfrozen(backbone)
        if not parameters:
            raise PeftCorrError(
                f"The strategy {type(self).__name__} finds nothing to train in the chosen blocks of this backbone: "
                "choose other blocks or another strategy."
            )
        for parameter in parameters:
            parameter.requires_grad_(True)

    def expected_parameters(self, backbone: Backbone) -> int:
        """The sizes of the pretrained tensors that are trained."""
        return sum(parameter.numel() for parameter in self.unfrozen(backbone))

    def merge(self, backbone: Backbone) -> None:
        """Nothing to do: the backbone's own weights are what was trained."""


class BlockParameters(BlockStrategy, Unfreezing):
    """Parameters of one kind in the chosen blocks and, where the option ``final_norm`` says so, in the final norm."""

    @abstractmethod
    def of(self, module: nn.Module) -> dict[str, nn.Parameter]:
        """Those of the kind in a module, by name."""

    def unfrozen(self, backbone: Backbone) -> list[nn.Parameter]:
        """Those of the blocks, then those of the final norm."""
        modules: list[nn.Module | None] = [
            backbone.get_submodule(site.block) for site in self.sites(backbone)
        ]
        if self.config.final_norm:
            modules.append(backbone.final_norm())
        return [own for module in modules if module is not None for own in self.of(module).values()]

"""BitFit. Ben Zaken et al., "BitFit: Simple Parameter-efficient Fine-tuning for [...] Language-models", ACL 2022."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from peftcorr.backbones.base import Backbone
from peftcorr.strategies.base import Blocks, Strategy, chosen_blocks, first_block
from peftcorr.strategies.pretrained import biases
from peftcorr.strategies.unfreezing import Unfreezing


class BitFit(Unfreezing):
    """Every bias of the chosen blocks, norms included.

    The patch embedding's bias stays frozen, unlike in the paper, where every bias of the encoder is trained: the
    blocks alone keep the frozen prefix apart. A bias of the keys adds the same to all logits of a query, so that its
    gradient is rounding; it is trained and counted all the same, as in the paper.
    """

    class Config(Strategy.Config):
        """Options of ``bitfit``."""

        blocks: Blocks = "all"
        final_norm: bool = Field(default=True, description="train the final norm's bias too")

    config: Config

    def unfrozen(self, backbone: Backbone) -> list[nn.Parameter]:
        """The biases: 11 D a block of DINOv2 with the plain MLP, and D of the final norm.

        4 D are of q, k, v and the output projection, 5 D of the MLP, 2 D of the norms.
        """
        sites = chosen_blocks(backbone, self.config.blocks)
        modules: list[nn.Module | None] = [backbone.get_submodule(site.block) for site in sites]
        if self.config.final_norm:
            modules.append(backbone.final_norm())
        return [bias for module in modules if module is not None for bias in biases(module).values()]

    def first_trainable_block(self, backbone: Backbone) -> int:
        """The first of the chosen blocks."""
        return first_block(backbone, self.config.blocks)

    def learning_rate(self) -> float:
        """Biases alone want larger steps than matrices."""
        return 3e-3

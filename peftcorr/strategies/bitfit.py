"""BitFit. Ben Zaken et al., "BitFit: Simple Parameter-efficient Fine-tuning for [...] Language-models", ACL 2022."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from peftcorr.strategies.base import Blocks, Strategy
from peftcorr.strategies.pretrained import biases
from peftcorr.strategies.unfreezing import BlockParameters


class BitFit(BlockParameters):
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

    def of(self, module: nn.Module) -> dict[str, nn.Parameter]:
        """The biases: 11 D a block of DINOv2 with the plain MLP, and D of the final norm.

        4 D are of q, k, v and the output projection, 5 D of the MLP, 2 D of the norms.
        """
        return biases(module)

    def learning_rate(self) -> float:
        """Biases alone want larger steps than matrices."""
        return 3e-3

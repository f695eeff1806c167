"""AdaptFormer: Chen et al., "Adapting Vision Transformers for Scalable Visual Recognition", NeurIPS 2022."""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone
from peftcorr.strategies.base import Blocks, BlockStrategy, Strategy, inject, place


class ParallelBottleneck(nn.Module):
    """s W_up ReLU(W_down x), with x the residual stream before the MLP's norm; zero at the start."""

    def __init__(self, width: int, bottleneck: int, scale: float, dropout: float):
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        self.dropout = nn.Dropout(dropout)
        self.scale = scale
        self._update: Tensor | None = None
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        update: Tensor = self.up(self.dropout(nn.functional.relu(self.down(tokens))))
        return self.scale * update

    def read_stream(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Forward pre-hook of the MLP's norm, whose input is the residual stream."""
        self._update = self(inputs[0])

    def add_update(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Forward hook of the module whose output the MLP adds to the stream."""
        assert self._update is not None
        total, self._update = output + self._update, None
        return total


class AdaptFormer(BlockStrategy):
    """A scaled bottleneck in parallel to the MLP of every block."""

    class Config(Strategy.Config):
        """Options of ``adaptformer``."""

        bottleneck: int = Field(default=64, ge=1, description="width between the two projections")
        scale: float = Field(default=0.1, gt=0, description="what the branch's output is multiplied by")
        dropout: float = Field(default=0.1, ge=0, lt=1, description="after the ReLU, in training")
        blocks: Blocks = "all"

    config: Config

    def apply(self, backbone: Backbone) -> None:
        """Inject one bottleneck a block, fed before the norm and added after the MLP."""
        for site in self.sites(backbone):
            adapter = ParallelBottleneck(
                site.width, self.config.bottleneck, self.config.scale, self.config.dropout
            )
            norm2, output = place(site, "norm2", "adaptformer"), place(site, "mlp_output", "adaptformer")
            inject(backbone, site.block, "adaptformer", adapter)
            backbone.get_submodule(norm2).register_forward_pre_hook(adapter.read_stream)
            backbone.get_submodule(output).register_forward_hook(adapter.add_update)

    def expected_parameters(self, backbone: Backbone) -> int:
        """L (2 D m + m + D)."""
        m = self.config.bottleneck
        return sum(2 * site.width * m + m + site.width for site in self.sites(backbone))

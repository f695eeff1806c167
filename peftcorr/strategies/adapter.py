"""Bottleneck adapters. Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", ICML 2019."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone, BlockSites, parameters_of
from peftcorr.strategies.base import Blocks, BlockStrategy, Strategy, inject, place
from peftcorr.strategies.pretrained import pretrained_modules


class Bottleneck(nn.Module):
    """y + W_up GELU(W_down y), near the identity at the start."""

    def __init__(self, width: int, bottleneck: int, init_std: float):
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        for linear in (self.down, self.up):
            nn.init.trunc_normal_(linear.weight, std=init_std, a=-2 * init_std, b=2 * init_std)
            nn.init.zeros_(linear.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        update: Tensor = self.up(nn.functional.gelu(self.down(tokens)))
        return tokens + update

    def adapt_output(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Forward hook of the module whose output goes into the residual stream."""
        adapted: Tensor = self(output)
        return adapted


class Adapter(BlockStrategy):
    """Serial bottlenecks after attention and after the MLP, before each residual addition."""

    starts_changed = True  # by little: both projections start near zero, not at it

    class Config(Strategy.Config):
        """Options of ``adapter``."""

        bottleneck: int = Field(default=64, ge=1, description="width between the two projections")
        blocks: Blocks = "all"
        layer_norm: bool = Field(
            default=False, description="train the blocks' LayerNorms too, as the paper does"
        )
        init_std: float = Field(default=1e-3, gt=0, description="deviation of the projections at the start")

    config: Config

    def apply(self, backbone: Backbone) -> None:
        """Inject both bottlenecks of every chosen block."""
        for site in self.sites(backbone):
            for name, output in (
                ("attention_adapter", place(site, "attention_output", "adapter")),
                ("mlp_adapter", place(site, "mlp_output", "adapter")),
            ):
                adapter = Bottleneck(site.width, self.config.bottleneck, self.config.init_std)
                inject(backbone, site.block, name, adapter)
                backbone.get_submodule(output).register_forward_hook(adapter.adapt_output)
            if self.config.layer_norm:
                for norm in _layer_norms(backbone, site):
                    norm.requires_grad_(True)

    def expected_parameters(self, backbone: Backbone) -> int:
        """L 2 (2 D m + m + D), plus the blocks' LayerNorms: 4 D for two of them."""
        m = self.config.bottleneck
        sites = self.sites(backbone)
        norms = [norm for site in sites for norm in _layer_norms(backbone, site)]
        return sum(2 * (2 * site.width * m + m + site.width) for site in sites) + (
            sum(parameters_of(norm) for norm in norms) if self.config.layer_norm else 0
        )


def _layer_norms(backbone: Backbone, site: BlockSites) -> list[nn.LayerNorm]:
    modules = pretrained_modules(backbone.get_submodule(site.block)).values()
    return [module for module in modules if isinstance(module, nn.LayerNorm)]

"""A backbone of convolutions: other layers than a transformer's, and no sequence of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone, BlockSites, TokenState, parameters_of
from peftcorr.backbones.identity import Weights


class Stage(nn.Module):
    """x + GELU(norm(convolution(x)))."""

    def __init__(self, norm: nn.Module, bias: bool):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(8, 8, 3, padding=1, bias=bias), norm

    def forward(self, features: Tensor) -> Tensor:
        return features + nn.functional.gelu(self.norm(self.convolution(features)))


class Convolutional(Backbone):
    """Two blocks of convolution and norm, 8 wide, in cells of 8 pixels."""

    def __init__(self, *norms: nn.Module):
        super().__init__(Backbone.Config(image_size=32))
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 8, 8)
        self.stages = nn.ModuleList(
            Stage(norm, bias=index == 0)
            for index, norm in enumerate(norms or (nn.GroupNorm(2, 8), LayerNorm2d(8)))
        )
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.5 + 0.3 * torch.randn_like(parameter))
        self.stride, self.channels = 8, 8
        self.requires_grad_(False)
        self._sites = [
            BlockSites(f"stages.{index}", 8, parameters_of(stage), {"conv": (f"stages.{index}.convolution",)})
            for index, stage in enumerate(self.stages)
        ]
        self.eval()

    @classmethod
    def build(cls, config: Backbone.Config, weights: Weights | None) -> Backbone:
        return cls()

    def blocks(self) -> Sequence[nn.Module]:
        return list(self.stages)

    def sites(self) -> list[BlockSites]:
        return self._sites

    def final_norm(self) -> None:
        return None

    def prefix(self, images: Tensor, k: int) -> TokenState:
        tokens = self.stem(images)
        for stage in self.blocks()[:k]:
            tokens = stage(tokens)
        return TokenState(tokens, *tokens.shape[-2:])

    def tail(self, state: TokenState, k: int) -> Tensor:
        tokens = state.tokens
        for stage in self.blocks()[k:]:
            tokens = stage(tokens)
        return tokens

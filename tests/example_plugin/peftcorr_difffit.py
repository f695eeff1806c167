"""DiffFit. Xie et al., "DiffFit: Unlocking Transferability of Large Diffusion Models [...]", ICCV 2023."""

import torch
from torch import nn

from peftcorr.strategies.base import Strategy, inject, place
from peftcorr.strategies.pretrained import biases, norm_parameters


class Scale(nn.Module):
    """gamma * y, one a channel; the identity at the start."""

    def __init__(self, width):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def after(self, module, inputs, output):
        """Forward hook of the module whose output is scaled."""
        return self.gamma * output


class DiffFit(Strategy):
    """Train the blocks' biases and norms, and a scale on what attention and MLP add to the stream."""

    def apply(self, backbone):
        for parameter in self.unfrozen(backbone):
            parameter.requires_grad_(True)
        for site in backbone.sites():
            for what in ("attention_output", "mlp_output"):
                scale = Scale(site.width)
                inject(backbone, site.block, "difffit_" + what, scale)
                backbone.get_submodule(place(site, what, "difffit")).register_forward_hook(scale.after)

    def expected_parameters(self, backbone):
        return sum(p.numel() for p in self.unfrozen(backbone)) + sum(2 * s.width for s in backbone.sites())

    def unfrozen(self, backbone):
        blocks = [backbone.get_submodule(site.block) for site in backbone.sites()]
        return [p for block in blocks for p in {**biases(block), **norm_parameters(block)}.values()]

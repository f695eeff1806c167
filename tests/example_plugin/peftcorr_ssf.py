"""SSF. Lian et al., "Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning", NeurIPS 2022."""

import torch
from torch import nn

from peftcorr.strategies.base import Strategy, inject


class ScaleShift(nn.Module):
    """gamma * y + beta, one of each a channel; the identity at the start."""

    def __init__(self, width):
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def after(self, module, inputs, output):
        """Forward hook of the layer whose output is scaled and shifted."""
        return self.gamma * output + self.beta


class SSF(Strategy):
    """Scale and shift the output of every linear layer and norm of every block."""

    def apply(self, backbone):
        for block, name, layer, width in self.layers(backbone):
            scale_shift = ScaleShift(width)
            inject(backbone, block, "ssf_" + name.replace(".", "_"), scale_shift)
            layer.register_forward_hook(scale_shift.after)

    def expected_parameters(self, backbone):
        return sum(2 * width for *_, width in self.layers(backbone))

    def layers(self, backbone):
        for block in (site.block for site in backbone.sites()):
            for name, layer in list(backbone.get_submodule(block).named_modules()):
                if isinstance(layer, (nn.Linear, nn.LayerNorm)):
                    width = layer.out_features if isinstance(layer, nn.Linear) else layer.weight.numel()
                    yield block, name, layer, width

"""SSF. Lian et al., "Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning", NeurIPS 2022."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from peftcorr.backbones.base import Backbone
from peftcorr.errors import PeftCorrError
from peftcorr.strategies.base import Blocks, BlockStrategy, Strategy, inject
from peftcorr.strategies.pretrained import is_norm, pretrained_modules

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_CHANNELS_SECOND = (*_CONVOLUTIONS, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


class ScaleShift(nn.Module):
    """scale * y + shift, one of each a channel; the identity at the start."""

    hook: RemovableHandle

    def __init__(self, width: int, axis: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))
        self.axis = axis

    def forward(self, features: Tensor) -> Tensor:
        """Features of any shape with `width` channels along `axis`."""
        shape = [1] * features.ndim
        shape[self.axis] = -1
        return (self.scale.view(shape) * features + self.shift.view(shape)).to(features.dtype)

    def adapt_output(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Forward hook of the layer whose output is scaled and shifted."""
        adapted: Tensor = self(output)
        return adapted


class Ssf(BlockStrategy):
    """Scale and shift the output of every linear layer, norm and convolution of the chosen blocks.

    The identity at the start, where the authors' code draws scale and shift with a deviation of 0.02; the paper also
    adapts what lies outside the blocks (patch embedding, final norm).
    """

    innermost: ClassVar[bool] = True

    class Config(Strategy.Config):
        """Options of ``ssf``."""

        blocks: Blocks = "all"

    config: Config

    def layers(self, backbone: Backbone) -> list[tuple[str, str, nn.Module]]:
        """Every layer that is adapted: name of its block, of the block's child that adapts it, and the layer."""
        return [
            (site.block, "ssf_" + name.replace(".", "_"), layer)
            for site in self.sites(backbone)
            for name, layer in pretrained_modules(backbone.get_submodule(site.block)).items()
            if isinstance(layer, (nn.Linear, *_CONVOLUTIONS)) or _is_weighted_norm(layer)
        ]

    def apply(self, backbone: Backbone) -> None:
        """Inject a scale and a shift for every layer, applied by a hook of the layer itself."""
        for block, name, layer in self.layers(backbone):
            scale_shift = ScaleShift(len(_weight(layer)), _channel_axis(layer))
            inject(backbone, block, name, scale_shift)
            scale_shift.hook = layer.register_forward_hook(scale_shift.adapt_output)

    def expected_parameters(self, backbone: Backbone) -> int:
        """Twice the layers' outputs: 22 D a block of DINOv2 with the plain MLP."""
        return sum(2 * len(_weight(layer)) for *_, layer in self.layers(backbone))

    def merge(self, backbone: Backbone) -> None:
        """Multiply the layers' weights, multiply and shift their biases, and take the rest out.

        A layer without a bias gets one.

        Raises:
            PeftCorrError: if a layer's output is not linear in a weight and a bias (RMSNorm has no bias, some norms
                bring their activation), or if nothing was applied.
        """
        layers = self.layers(backbone)
        for block, name, layer in layers:
            if not hasattr(backbone.get_submodule(block), name):
                raise PeftCorrError("This backbone carries no SSF to merge: apply the strategy first.")
            if not _is_foldable(layer):
                raise PeftCorrError(
                    f"SSF has no exact merge into {type(layer).__name__}: keep the adapter beside the model."
                )
        for block, name, layer in layers:
            scale_shift = backbone.get_submodule(f"{block}.{name}")
            assert isinstance(scale_shift, ScaleShift)
            _fold(layer, scale_shift)
            scale_shift.hook.remove()
            delattr(backbone.get_submodule(block), name)


def _weight(layer: nn.Module) -> nn.Parameter:
    weight = layer.weight
    assert isinstance(weight, nn.Parameter)
    return weight


def _is_weighted_norm(layer: nn.Module) -> bool:
    return is_norm(layer) and isinstance(getattr(layer, "weight", None), nn.Parameter)


def _channel_axis(layer: nn.Module) -> int:
    second = (
        isinstance(layer, _CHANNELS_SECOND)
        or type(layer).__name__.endswith("2d")  # timm and segment_anything
        or getattr(layer, "data_format", "") == "channels_first"  # transformers
    )
    return 1 if second else -1


def _is_foldable(layer: nn.Module) -> bool:
    affine = isinstance(layer, (nn.Linear, nn.LayerNorm, *_CHANNELS_SECOND))
    # segment_anything has a LayerNorm2d of its own.
    return (affine or type(layer).__name__ == "LayerNorm2d") and not list(layer.children())


@torch.no_grad()
def _fold(layer: nn.Module, scale_shift: ScaleShift) -> None:
    weight, bias = _weight(layer), getattr(layer, "bias", None)
    weight.mul_(scale_shift.scale.view(-1, *[1] * (weight.ndim - 1)))
    if bias is None:
        layer.bias = nn.Parameter(scale_shift.shift.detach().clone(), requires_grad=False)
    else:
        bias.mul_(scale_shift.scale).add_(scale_shift.shift)

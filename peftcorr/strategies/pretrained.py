"""What a backbone brought along, told from what strategies put in: in a combination one part must not train another's.

All of it can be asked before and after a strategy was applied, with the same answer.
"""

from __future__ import annotations

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from peftcorr.backbones.base import NEVER_TRAINED
from peftcorr.strategies.base import INJECTED

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm, nn.RMSNorm)


def pretrained_modules(module: nn.Module, prefix: str = "") -> dict[str, nn.Module]:
    """The module and all below it by dotted name, as they were before any strategy.

    What `inject` added is left out, and what a backbone marked as never trained (`NEVER_TRAINED`); a layer that peft
    wrapped stands under its own name again.
    """
    if getattr(module, INJECTED, False) or getattr(module, NEVER_TRAINED, False):
        return {}
    base = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module
    found = {prefix: base}
    for name, child in base.named_children():
        found.update(pretrained_modules(child, f"{prefix}.{name}" if prefix else name))
    return found


def pretrained_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The pretrained parameters of a module by name."""
    return _own_parameters(pretrained_modules(module))


def biases(module: nn.Module) -> dict[str, nn.Parameter]:
    """The pretrained biases of a module by name; timm calls some ``q_bias``."""
    return {
        name: parameter
        for name, parameter in pretrained_parameters(module).items()
        if name.rpartition(".")[2].rpartition("_")[2] == "bias"
    }


def norm_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Weights and biases of the pretrained norm layers of a module by name."""
    modules = pretrained_modules(module)
    return _own_parameters({name: layer for name, layer in modules.items() if is_norm(layer)})


def is_norm(layer: nn.Module) -> bool:
    """Whether a layer is a norm: one of torch's, or one that a library calls so (``LayerNorm2d``, ``RmsNorm``)."""
    return isinstance(layer, _NORMS) or "norm" in type(layer).__name__.lower()


def _own_parameters(modules: dict[str, nn.Module]) -> dict[str, nn.Parameter]:
    return {
        own: parameter
        for name, module in modules.items()
        for own, parameter in module.named_parameters(name, recurse=False)
    }

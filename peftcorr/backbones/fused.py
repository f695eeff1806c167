"""Fused projections taken apart: q, k and v as layers of their own, so that a strategy can adapt two of the three.

Many libraries compute q, k and v with one matrix. A low-rank update of that matrix would share its input side among
the three and change k too; of the separate layers it is the update that the papers describe, with their count.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SplitLinear(nn.Module):
    """A linear layer as several, whose outputs are concatenated.

    Args:
        fused: the layer, whose output rows are equal shares in the order of `names`.
        names: of the layers that it becomes; children of this module.
    """

    def __init__(self, fused: nn.Linear, names: Sequence[str] = ("q", "k", "v")):
        super().__init__()
        self._names = tuple(names)
        size = fused.out_features // len(self._names)
        for index, name in enumerate(self._names):
            layer = _linear(fused.in_features, size, like=fused)
            rows = slice(index * size, (index + 1) * size)
            layer.load_state_dict({what: tensor[rows] for what, tensor in fused.state_dict().items()})
            self.add_module(name, layer.requires_grad_(fused.weight.requires_grad))

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., D) to (..., out)."""
        return torch.cat([self.get_submodule(name)(tokens) for name in self._names], dim=-1)

    def fused(self) -> nn.Linear:
        """The one layer again, for a model that is to be read by its own library.

        Raises:
            TypeError: if a layer is still wrapped by an adapter.
        """
        layers = [self.get_submodule(name) for name in self._names]
        if not all(type(layer) is nn.Linear for layer in layers):
            raise TypeError("merge the adapters first")
        first: nn.Linear = layers[0]  # type: ignore[assignment]
        whole = _linear(first.in_features, first.out_features * len(layers), like=first)
        states = [layer.state_dict() for layer in layers]
        whole.load_state_dict({what: torch.cat([state[what] for state in states]) for what in states[0]})
        return whole


def _linear(inputs: int, outputs: int, like: nn.Linear) -> nn.Linear:
    layer = nn.Linear(
        inputs, outputs, like.bias is not None, device=like.weight.device, dtype=like.weight.dtype
    )
    if like.bias is not None:  # of a type of its own where the weight is held in bfloat16
        layer.bias = nn.Parameter(layer.bias.to(like.bias.dtype))
    return layer


def fused_state(module: nn.Module) -> dict[str, Tensor]:
    """State dict of `module` with every `SplitLinear` below it as the one layer that it was."""
    whole = copy.deepcopy(module)
    for name, part in list(whole.named_modules()):
        if isinstance(part, SplitLinear):
            whole.set_submodule(name, part.fused())
    return whole.state_dict()


def split_projection(parent: nn.Module, name: str, names: Sequence[str] = ("q", "k", "v")) -> None:
    """Replace the linear layer `name` of `parent` by a `SplitLinear`."""
    fused = getattr(parent, name)
    assert isinstance(fused, nn.Linear)
    setattr(parent, name, SplitLinear(fused, names))

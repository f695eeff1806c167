"""Frozen weights held in bfloat16: half the memory, while everything is computed in the precision of what comes in.

Held so are the weights of plain linear layers, convolutions and embeddings. What is small (biases, norms, positions,
and the convolution that reads the pixels) stays in float32, and so does whatever a strategy trains. A layer multiplies
by its weight turned back to the type of its input, for the moment of the product: forward, and again backward.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear
from torch.nn.grad import conv2d_input

from peftcorr.backbones.base import Backbone
from peftcorr.errors import RecipeFails

M = TypeVar("M", bound=nn.Module)

_OF_PIXELS = 4  # channels that a convolution has to read more than


class _Product(torch.autograd.Function):
    """A linear layer by a frozen weight, which is kept for the way back as it is held, not as it was multiplied."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return linear(inputs, weight.to(inputs.dtype), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        inputs = gradient @ weight.to(gradient.dtype) if ctx.needs_input_grad[0] else None
        bias = gradient.sum(0) if ctx.needs_input_grad[2] else None
        return inputs, None, bias


class _Convolution(torch.autograd.Function):
    """Likewise a convolution."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, how: tuple[Any, ...]
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.how = inputs.shape, how
        return conv2d(inputs, weight.to(inputs.dtype), bias, *how)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        inputs = None
        if ctx.needs_input_grad[0]:
            whole = weight.to(gradient.dtype)
            inputs = conv2d_input(ctx.shape, whole, gradient, *ctx.how)  # type: ignore[no-untyped-call]
        bias = gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        return inputs, None, bias, None


class HalfLinear(nn.Linear):
    """A linear layer whose weight is held in bfloat16 while it is frozen."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., in) to (..., out), of the type of the input."""
        if self.weight.dtype != torch.bfloat16:
            return super().forward(input)
        inputs, bias = _as_computed(input, self.bias)
        # As rows: what comes of more dimensions would be a view, to which nobody may add in place.
        rows: Tensor = _Product.apply(inputs.reshape(-1, self.in_features), self.weight, bias)
        return rows.view(*input.shape[:-1], self.out_features)


class HalfConv2d(nn.Conv2d):
    """A convolution whose weight is held in bfloat16 while it is frozen."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W'), of the type of the input."""
        if self.weight.dtype != torch.bfloat16:
            return super().forward(input)
        inputs, bias = _as_computed(input, self.bias)
        how = (self.stride, self.padding, self.dilation, self.groups)
        product: Tensor = _Convolution.apply(inputs, self.weight, bias, how)
        return product


class HalfEmbedding(nn.Embedding):
    """An embedding that is held in bfloat16 while it is frozen."""

    def forward(self, input: Tensor) -> Tensor:
        """Indices (...) to float32 (..., D)."""
        return super().forward(input).float()


_HELD: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: HalfLinear,
    nn.Conv2d: HalfConv2d,
    nn.Embedding: HalfEmbedding,
}
_WHOLE = "held_in_float32"
_PLAIN = {half: plain for plain, half in _HELD.items()}


def thinned(model: M) -> M:
    """The model with its large weights as bfloat16, and nothing else changed: to be loaded into, not yet to be run."""
    for layer in model.modules():
        if _can_be_held(layer) and layer.weight.dtype == torch.float32:
            layer.weight.data = layer.weight.data.to(torch.bfloat16)  # the parameter stays itself
    return model


def narrowed(backbone: Backbone) -> Backbone:
    """The backbone, with its large weights, and those of its parts, held as the option `dtype` says.

    Raises:
        RecipeFails: if it has none that could be held so.
    """
    for part in backbone.modules():
        if isinstance(part, Backbone) and part.config.dtype == "bf16":
            held = [layer for layer in thinned(part).modules() if _is_thin(layer)]
            if not held:
                raise RecipeFails(
                    f"backbone.dtype is bf16, but {type(part).__name__} has no plain linear layer, convolution or "
                    "embedding that could be held so: leave backbone.dtype out."
                )
            for layer in held:
                layer.__class__ = _HELD[type(layer)]
    return backbone


def keep_whole(layer: nn.Linear | nn.Conv2d) -> None:
    """Have a layer in float32 for good: its model computes with its weight itself."""
    layer.__dict__[_WHOLE] = True
    for parameter in layer.parameters(recurse=False):
        _widen(parameter)


def widened(module: M) -> M:
    """The module with all that was held in bfloat16 in float32 again, of the same values."""
    for layer in module.modules():
        if type(layer) in _PLAIN:
            layer.__class__ = _PLAIN[type(layer)]
    for parameter in module.parameters():
        _widen(parameter)
    return module


def widen_trained(module: nn.Module) -> None:
    """Have whatever is trained in float32; what is frozen stays as it is held."""
    for parameter in module.parameters():
        if parameter.requires_grad:
            _widen(parameter)


@contextmanager
def without_values() -> Iterator[None]:
    """Have modules made in the block with parameters that have shapes and no values; buffers have theirs."""
    register = nn.Module.register_parameter

    def registered(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            parameter = nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
        register(module, name, parameter)

    nn.Module.register_parameter = registered  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def _as_computed(inputs: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Input and bias in the type that the product is computed in: autocast's, or that of the input."""
    kind = inputs.device.type
    dtype = torch.get_autocast_dtype(kind) if _autocast(kind) else inputs.dtype
    return inputs.to(dtype), None if bias is None else bias.to(dtype)


def _autocast(kind: str) -> bool:
    return kind != "meta" and torch.is_autocast_enabled(kind)


def _can_be_held(layer: nn.Module) -> bool:
    """Not subclasses, which do something to their weight first."""
    if _WHOLE in layer.__dict__:
        return False
    if type(layer) is nn.Conv2d:
        zeros = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        return zeros and layer.in_channels > _OF_PIXELS
    return type(layer) in _HELD


def _is_thin(layer: nn.Module) -> bool:
    return type(layer) in _HELD and layer.weight.dtype == torch.bfloat16


def _widen(parameter: nn.Parameter) -> None:
    if parameter.dtype == torch.bfloat16:
        parameter.data = parameter.data.float()

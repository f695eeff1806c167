"""How many parameters each of peft's tuners trains in a layer, from the layer's shape and the tuner's options.

The formulas follow the papers, and where these leave a choice, the shapes that peft 0.21 allocates. None of them looks
at a parameter: `peftcorr.strategies.base.apply_checked` holds them against the real ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from peftcorr.strategies import pretrained

Options = Mapping[str, Any]


class Unfit(Exception):
    """A tuner cannot take a layer of this shape with these options; the message says why."""


@dataclass(frozen=True)
class Shape:
    """Of a linear layer, a convolution (`kernel` is then height and width) or a norm.

    Attributes:
        inputs, outputs: channels; of a norm both the same.
        groups: of a convolution.
        dilated: whether a convolution's kernel has gaps.
        bias: whether there is one.
        feedforward: whether the layer is the MLP's last, whose input (IA)^3 scales.
    """

    inputs: int
    outputs: int
    kernel: tuple[int, int] | None = None
    groups: int = 1
    dilated: bool = False
    bias: bool = True
    feedforward: bool = False

    @property
    def cells(self) -> int:
        """Positions of a kernel; 1 for a linear layer."""
        return math.prod(self.kernel) if self.kernel else 1


Count = Callable[[Shape, Options], int]


def shape_of(layer: nn.Module, feedforward: bool = False) -> Shape:
    """Shape of a layer.

    Raises:
        Unfit: if it is neither a linear layer, nor a 2D convolution, nor a norm with a weight.
    """
    if isinstance(layer, nn.Linear):
        return Shape(
            layer.in_features, layer.out_features, bias=layer.bias is not None, feedforward=feedforward
        )
    if isinstance(layer, nn.Conv2d):
        kernel = (layer.kernel_size[0], layer.kernel_size[1])
        dilated = any(step != 1 for step in layer.dilation)
        bias = layer.bias is not None
        return Shape(layer.in_channels, layer.out_channels, kernel, layer.groups, dilated, bias, feedforward)
    if is_norm(layer):
        weight: Any = layer.weight
        return Shape(weight.numel(), weight.numel(), bias=getattr(layer, "bias", None) is not None)
    raise Unfit(f"it is a {type(layer).__name__}, no linear layer, 2D convolution or norm")


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a norm with a weight of its own; batch norms, which know other images, are none."""
    weighted = isinstance(getattr(module, "weight", None), nn.Parameter)
    return weighted and pretrained.is_norm(module) and "BatchNorm" not in type(module).__name__


def low_rank(shape: Shape, options: Options) -> int:
    """LoRA and rsLoRA: r (in + out); of a convolution A has the kernel, and B alone is grouped."""
    r: int = options["r"]
    if shape.dilated:
        raise Unfit("it is a dilated convolution, whose dilation peft's LoRA drops")
    if r % shape.groups:
        raise Unfit(f"it has {shape.groups} groups, of which the rank {r} is no multiple")
    return r * (shape.inputs * shape.cells + shape.outputs // shape.groups)


def dora(shape: Shape, options: Options) -> int:
    """LoRA's, and a magnitude for each output."""
    return low_rank(shape, options) + shape.outputs


def adalora(shape: Shape, options: Options) -> int:
    """init_r (in + out + 1), of which the schedule switches most off in the course of training."""
    rank: int = options["init_r"]
    return rank * (shape.inputs * shape.cells + shape.outputs + 1)


def loha(shape: Shape, options: Options) -> int:
    """2 r (in + out): two low-rank products, multiplied entry by entry."""
    r: int = options["r"]
    if options["use_effective_conv2d"] and shape.cells > 1:
        return 2 * r * (shape.inputs + shape.outputs + r * shape.cells)
    return 2 * r * (shape.inputs * shape.cells + shape.outputs)


def factors(number: int, factor: int) -> tuple[int, int]:
    """Two factors of a number: `factor` and its cofactor if it divides, else the pair nearest to a square below it."""
    if factor > 0 and number % factor == 0:
        return factor, number // factor
    highest = math.isqrt(number) if factor == -1 else min(factor, math.isqrt(number))
    small = next(small for small in range(highest, 0, -1) if number % small == 0)
    return small, number // small


def lokr(shape: Shape, options: Options) -> int:
    """The two factors of a Kronecker product, each whole or, where that is smaller, of rank r."""
    r: int = options["r"]
    out_small, out_large = factors(shape.outputs, options["decompose_factor"])
    in_small, in_large = factors(shape.inputs, options["decompose_factor"])
    first = out_small * in_small
    if options["decompose_both"] and r < max(out_small, in_small) / 2:
        first = r * (out_small + in_small)
    if r >= max(out_large, in_large) / 2:
        return first + out_large * in_large * shape.cells
    if options["use_effective_conv2d"] and shape.cells > 1:
        return first + r * (out_large + in_large + r * shape.cells)
    return first + r * (out_large + in_large * shape.cells)


def oft(shape: Shape, options: Options) -> int:
    """in / b skew-symmetric blocks of b (b - 1) / 2 each, or one that all share."""
    block: int = options["oft_block_size"]
    name, given = ("oft_block_size", block) if block else ("r", options["r"])
    if shape.inputs % given:  # peft would go on with another size than the one that was asked for
        raise Unfit(f"its {shape.inputs} inputs are no multiple of {name} {given}")
    block = block or shape.inputs // given
    if block == 1:
        raise Unfit("blocks of one input have nothing to rotate")
    return (1 if options["block_share"] else shape.inputs // block) * block * (block - 1) // 2


def boft(shape: Shape, options: Options) -> int:
    """in / b blocks of b^2, and a scale for each output: one butterfly factor."""
    width = shape.inputs * shape.cells
    name = "boft_block_size" if options["boft_block_size"] else "boft_block_num"
    if width % options[name]:
        raise Unfit(f"its {width} inputs are no multiple of {name} {options[name]}")
    block = options["boft_block_size"] or width // options["boft_block_num"]
    if block == 1:
        raise Unfit("blocks of one input have nothing to rotate")
    return width * int(block) + shape.outputs


def hra(shape: Shape, options: Options) -> int:
    """r in: as many reflections of the input, which cancel in pairs at the start."""
    r: int = options["r"]
    if r % 2:
        raise Unfit(f"r is {r}, but reflections cancel in pairs: an even r leaves the features as they were")
    return r * shape.inputs * shape.cells


def ia3(shape: Shape, options: Options) -> int:
    """A scale for each output, or for each input of the MLP's last layer."""
    return shape.inputs if shape.feedforward else shape.outputs


def vera(shape: Shape, options: Options) -> int:
    """r + out: two vectors; the matrices between them are random, frozen and shared by all layers."""
    r: int = options["r"]
    return r + shape.outputs


def fourierft(shape: Shape, options: Options) -> int:
    """As many Fourier coefficients as asked for."""
    count: int = options["n_frequency"]
    if count > shape.inputs * shape.outputs:
        raise Unfit(f"it has {shape.inputs} x {shape.outputs} weights, fewer than n_frequency {count}")
    return count


def norm(shape: Shape, options: Options) -> int:
    """2 D, or D where there is no bias."""
    return shape.outputs * (2 if shape.bias else 1)


def delora(shape: Shape, options: Options) -> int:
    """r (in + out), and the norm of the update."""
    return low_rank(shape, options) + 1


def miss(shape: Shape, options: Options) -> int:
    """r out: one matrix, its rows shared by groups of inputs."""
    r: int = options["r"]
    if r > shape.inputs:
        raise Unfit(f"it has {shape.inputs} inputs, fewer than r {r}")
    return r * shape.outputs


def road(shape: Shape, options: Options) -> int:
    """An angle and a scale for each pair of outputs; twice and four times as many in the wider variants."""
    if shape.outputs % options["group_size"]:
        raise Unfit(f"its {shape.outputs} outputs are no multiple of group_size {options['group_size']}")
    return {"road_1": 1, "road_2": 2, "road_4": 4}[options["variant"]] * shape.outputs


def c3a(shape: Shape, options: Options) -> int:
    """in out / b: circulant blocks of b x b, each given by b numbers."""
    block: int = options["block_size"]
    if shape.inputs % block or shape.outputs % block:
        raise Unfit(f"its {shape.inputs} x {shape.outputs} weights do not divide into blocks of {block}")
    return shape.inputs * shape.outputs // block

"""Find out, by running it once without weights, whether a timm model is a row of stages, and what each gives.

timm's families write their own forward. That stage after stage may be run by itself is no assumption about names
here: each stage must have been called once, with nothing but what the one before returned.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn


class NoStages(Exception):
    """The model is no such row; says why."""


@dataclass(frozen=True)
class Stage:
    """One stage: its module's name, and the map it gives of a square image.

    Attributes:
        layers: names of the linear layers and convolutions in it that ran as layers, from the stage down.
    """

    name: str
    channels: int
    stride: int
    channels_last: bool
    layers: frozenset[str]


@dataclass(frozen=True)
class StageRow:
    """The stages of a model, and its final norm: what runs between the last stage and timm's features."""

    stages: tuple[Stage, ...]
    norm: str | None


@dataclass
class _Calls:
    """What went through the modules of a model in one forward pass."""

    size: int
    inputs: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: defaultdict(list))
    outputs: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    returned: Any = None


def find_stages(model: nn.Module, size: int) -> StageRow:
    """Run a model on the meta device and read off its stages.

    Args:
        model: built on the meta device, without classifier.
        size: pixels a side of a square image.

    Raises:
        NoStages: if it is not a row of stages that give feature maps.
    """
    candidates = list(_candidates(model))
    if not candidates:
        raise NoStages("it has no list of stages")
    calls = _run(model, size)
    obstacles = [_obstacle(names, calls) for names in candidates]
    names = next((names for names, obstacle in zip(candidates, obstacles, strict=True) if not obstacle), None)
    if names is None:
        raise NoStages(str(obstacles[0]))
    return StageRow(tuple(_stage(model, name, calls) for name in names), _final_norm(model, names[-1], calls))


def live_parameters(model: nn.Module, features: Tensor) -> frozenset[str]:
    """Names of the parameters that `features`, computed on the meta device with gradients, depend on."""
    named = dict(model.named_parameters())
    gradients = torch.autograd.grad(features.sum(), list(named.values()), allow_unused=True)
    return frozenset(name for name, grad in zip(named, gradients, strict=True) if grad is not None)


def _candidates(model: nn.Module) -> list[list[str]]:
    """Lists of names that may be stages: `stages` and the like, or numbered modules such as `layer1`."""
    found = []
    for name in ("stages", "layers", "blocks"):
        container = getattr(model, name, None)
        if isinstance(container, nn.Sequential | nn.ModuleList) and len(container) > 1:
            found.append([f"{name}.{child}" for child, _ in container.named_children()])
    for pattern in (r"layer\d+", r"s\d+"):
        numbered = [name for name, _ in model.named_children() if re.fullmatch(pattern, name)]
        if len(numbered) > 1:
            found.append(numbered)
    return found


def _run(model: nn.Module, size: int) -> _Calls:
    calls = _Calls(size)

    def record(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any], output: Any) -> None:
            given = tuple(value for value in options.values() if value is not None)
            calls.inputs[name].append((*inputs, *given))
            calls.outputs[name].append(output)

        return hook

    handles = [
        module.register_forward_hook(record(name), with_kwargs=True)
        for name, module in model.named_modules()
        if name
    ]
    try:
        with torch.no_grad():
            calls.returned = model.forward_features(torch.zeros((1, 3, size, size), device="meta"))  # type: ignore[operator]
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _obstacle(names: list[str], calls: _Calls) -> str | None:
    """Why these modules cannot be run one after the other by themselves; None if they can."""
    for name in names:
        if len(calls.outputs[name]) != 1 or len(calls.inputs[name][0]) != 1:
            return f"{name} is not called once with one input"
        if not isinstance(calls.outputs[name][0], Tensor):
            return f"{name} does not return one tensor"
        shape = calls.outputs[name][0].shape
        if len(shape) != 4:
            return f"{name} gives no feature map but a tensor of {len(shape)} dimensions"
        if shape[2] not in (shape[1], shape[3]):
            return f"{name} gives no square map of a square image"
    for before, after in pairwise(names):
        if calls.inputs[after][0][0] is not calls.outputs[before][0]:
            return f"{after} does not read what {before} returns"
    return None


def _final_norm(model: nn.Module, last: str, calls: _Calls) -> str | None:
    """`norm`, where it is all that lies between the last stage and what timm returns as features."""
    through = calls.inputs["norm"], calls.outputs["norm"]
    alone = all(len(times) == 1 for times in through) and (
        through[0][0][0] is calls.outputs[last][0] and through[1][0] is calls.returned
    )
    return "norm" if alone and any(True for _ in model.get_submodule("norm").parameters()) else None


def _stage(model: nn.Module, name: str, calls: _Calls) -> Stage:
    shape = tuple(calls.outputs[name][0].shape)
    first, last = shape[2] == shape[3], shape[1] == shape[2]
    # Only where all three agree can the shape not tell.
    channels_last = last if first != last else getattr(model, "output_fmt", "NCHW") == "NHWC"
    layers = frozenset(
        inner
        for inner, module in model.get_submodule(name).named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and calls.outputs[f"{name}.{inner}"]
    )
    return Stage(
        name=name,
        channels=shape[3] if channels_last else shape[1],
        stride=_stride(model, calls.size / (shape[1] if channels_last else shape[2])),
        channels_last=channels_last,
        layers=layers,
    )


def _stride(model: nn.Module, ratio: float) -> int:
    """The nearest of the strides that timm names: `ratio` itself is off where the image is no multiple of it."""
    information: Any = model.feature_info
    known: list[int] = [entry["reduction"] for entry in information]
    return min(known, key=lambda stride: abs(stride - ratio))

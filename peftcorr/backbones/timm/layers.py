"""Layers of timm's models by role, with fused projections taken apart where it is certain what they compute."""

from __future__ import annotations

from collections.abc import Container

import torch
from timm.layers import Attention, AttentionRope, DiffAttention, GluMlp
from timm.models.eva import EvaAttention
from timm.models.swin_transformer import WindowAttention
from torch import Tensor, nn

from peftcorr.backbones.fused import SplitLinear, fused_state, split_projection

# Their forward calls `qkv` as a layer, and its output rows are q, k and v in equal shares. Others of timm order the
# rows by head (MaxViT), or read the weight alone (Swin v2): what they fuse is left as it is, and has no role.
_FUSED_ATTENTION = (Attention, DiffAttention, WindowAttention)
_EITHER_ATTENTION = (EvaAttention, AttentionRope)

_MLP_ROLES = {
    "fc1": "fc1",
    "fc1_g": "fc1",
    "fc1_x": "fc1",
    "fc2": "fc2",
    "w0": "fc1",
    "w1": "fc1",
    "w2": "fc2",
}


def separate_projections(block: nn.Module, called: Container[str] | None = None) -> None:
    """Give every attention and every gated MLP of a block separate layers for what timm computes with one.

    Args:
        block: changed in place; its features stay the same up to rounding.
        called: names, from the block down, of the layers that run as layers; None for all.
    """
    for name, module in list(block.named_modules()):
        if isinstance(module, _EITHER_ATTENTION):
            _unfuse(module)
        elif isinstance(module, _FUSED_ATTENTION) and (called is None or f"{name}.qkv" in called):
            split_projection(module, "qkv")
        elif isinstance(module, GluMlp) and type(module.fc1) is nn.Linear:
            split_projection(module, "fc1", ("x", "gate") if module.gate_last else ("gate", "x"))


def _unfuse(attention: EvaAttention | AttentionRope) -> None:
    """Turn a fused EVA attention into the form with q_proj, k_proj and v_proj, which timm's classes have too.

    EVA's keys have no bias: its ``k_bias`` is a buffer of zeros that no file holds.
    """
    fused = attention.qkv
    if fused is None:
        return
    split = SplitLinear(fused)
    for role in ("q", "k", "v"):
        layer = split.get_submodule(role)
        bias = getattr(attention, f"{role}_bias", None)
        if isinstance(bias, nn.Parameter):
            layer.bias = bias
        setattr(attention, f"{role}_proj", layer)
    attention.qkv = None
    if isinstance(attention, EvaAttention):
        attention.q_bias = attention.k_bias = attention.v_bias = None


def plain_state(model: nn.Module, wanted: Container[str]) -> dict[str, Tensor]:
    """State dict of a model with the projections as timm has them again.

    Args:
        model: after `separate_projections`.
        wanted: names of the plain model's tensors.
    """
    state = fused_state(model)
    for name in [key for key in state if key.endswith("q_proj.weight") and key not in wanted]:
        path = name.removesuffix("q_proj.weight")
        for what in ("weight", "bias"):
            parts = [state.pop(f"{path}{role}_proj.{what}", None) for role in "qkv"]
            given = [part for part in parts if part is not None]
            if len(given) == 3:
                state[f"{path}qkv.{what}"] = torch.cat(given)
            for role, part in zip("qkv", parts, strict=True):
                if f"{path}{role}_bias" in wanted and what == "bias" and part is not None:
                    state[f"{path}{role}_bias"] = part
    return state


def roles(block: nn.Module, called: Container[str] | None = None) -> dict[str, tuple[str, ...]]:
    """Layers by role (`peftcorr.backbones.base.ROLES`), named from the block down, those that are certain alone.

    Args:
        block: after `separate_projections`.
        called: names of the layers that run as layers (some modules read a layer's weight instead); None for all.
    """
    found: dict[str, list[str]] = {}
    for name, module in block.named_modules():
        role = _role(block, name, module)
        if role is not None and (called is None or name in called or _split_of(block, name)):
            found.setdefault(role, []).append(name)
    return {role: tuple(names) for role, names in found.items()}


def _split_of(block: nn.Module, name: str) -> bool:
    return isinstance(block.get_submodule(name.rpartition(".")[0]), SplitLinear)


def _role(block: nn.Module, name: str, layer: nn.Module) -> str | None:
    # Not their subclasses, which do something to the weight or the image first: an update beside them is another.
    if type(layer) is nn.Conv2d:
        return "conv"
    if type(layer) is not nn.Linear:
        return None
    path, _, last = name.rpartition(".")
    parent = block.get_submodule(path)
    if isinstance(parent, SplitLinear):
        return last if last in ("q", "k", "v") else "fc1"
    if isinstance(parent, (*_FUSED_ATTENTION, *_EITHER_ATTENTION)):
        return {"q_proj": "q", "k_proj": "k", "v_proj": "v", "proj": "out"}.get(last)
    return _MLP_ROLES.get(last)

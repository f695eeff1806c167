"""Hugging Face peft's layers put into a backbone, and taken out again by merging.

peft freezes whatever it does not inject, picks its targets by the ends of their names, and words its errors for
language models. Here what was trainable stays trainable, exactly the named layers are adapted, and an error names
the layer.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

import peft.tuners.boft.layer
import torch
from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners._buffer_dict import BufferDict
from peft.tuners.oft.layer import OFTRotationModule
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone
from peftcorr.errors import PeftCorrError, reason

ADAPTER = "default"
"""The name that peft gives an adapter; files in its format do not carry it."""


class TokenRotation(OFTRotationModule):  # type: ignore[misc]
    """OFT's rotation, for tokens that lie in a grid too: peft takes an input (B, H, W, D) for a convolution's."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        flat = tokens.flatten(1, -2) if tokens.dim() > 3 else tokens
        rotated: Tensor = super().forward(flat)
        return rotated.reshape(tokens.shape)


def pattern(names: Sequence[str]) -> str:
    """A regular expression that matches these module names and no other, which a list for peft would not."""
    return f"(?:{'|'.join(re.escape(name) for name in names)})"


def base_layer(backbone: Backbone, name: str) -> nn.Module:
    """The layer of that name as it was pretrained, whether peft has wrapped it or not."""
    module = backbone.get_submodule(name)
    base: nn.Module = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module
    return base


def inject_tuner(backbone: Backbone, config: PeftConfig, tuner: str, names: Sequence[str]) -> None:
    """Wrap layers with peft's, and leave every parameter that was there as trainable or frozen as it was.

    Args:
        config: peft's own, whose targets are the `pattern` of `names`.
        tuner: what the user calls it, for errors.
        names: full names of the layers.

    Raises:
        PeftCorrError: if a layer is wrapped already, or if peft refuses one.
    """
    for name in names:
        if isinstance(backbone.get_submodule(name), BaseTunerLayer):
            raise PeftCorrError(
                f"The strategy {tuner} would adapt {name}, which another strategy adapts already: give them different "
                "targets or blocks."
            )
    trained = {id(parameter): parameter.requires_grad for parameter in backbone.parameters()}
    known = {id(tensor) for tensor in (*backbone.parameters(), *backbone.buffers())}
    # Where it has the means, peft compiles a CUDA extension for BOFT, and then gives it other shapes than elsewhere.
    peft.tuners.boft.layer._FBD_CUDA = False
    try:
        with warnings.catch_warnings():  # which peft says of every norm, the layers that ln_tuning is for
            warnings.filterwarnings("ignore", "Unsupported layer type")
            PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type](backbone, config, ADAPTER)
    except (ValueError, TypeError, NotImplementedError, ArithmeticError) as error:
        order = [name for name, _ in backbone.named_modules() if name in set(names)]
        left = [name for name in order if not isinstance(backbone.get_submodule(name), BaseTunerLayer)]
        raise refusal(tuner, left[0] if left else order[-1], reason(error)) from error
    finally:
        backbone.__dict__.pop("peft_config", None)  # a second strategy would take it for adapters to add to
    for parameter in backbone.parameters():
        if id(parameter) in trained:
            parameter.requires_grad_(trained[id(parameter)])
    for tensor in (*backbone.parameters(), *backbone.buffers()):
        # peft makes them of the type that the layer's weight has, which is held in bfloat16 to save memory alone.
        if id(tensor) not in known and tensor.dtype == torch.bfloat16:
            tensor.data = tensor.data.float()
    for name in names:
        layer: Any = backbone.get_submodule(name)
        if ADAPTER in getattr(layer, "lora_magnitude_vector", ()):
            _magnitude_in_float32(layer)
        if hasattr(layer, "ranknum"):  # a constant of AdaLoRA's that peft makes a parameter
            layer.ranknum = BufferDict({ADAPTER: layer.ranknum[ADAPTER].detach()})
        for module in layer.modules():
            if type(module) is OFTRotationModule:
                module.__class__ = TokenRotation


def _magnitude_in_float32(layer: Any) -> None:
    """Measure again how long the rows of a weight are that was rounded while peft measured it, for DoRA."""
    weight = layer.get_base_layer().weight
    if weight.dtype != torch.bfloat16:
        return
    held = weight.data
    weight.data = held.float()
    layer.lora_variant[ADAPTER].init(layer, adapter_name=ADAPTER)
    weight.data = held


def refusal(tuner: str, layer: str, reason: str) -> PeftCorrError:
    """What to say where a tuner cannot take a layer."""
    return PeftCorrError(
        f"The tuner {tuner} cannot take {layer} ({reason.rstrip('.!')}): change the tuner's options, or leave this "
        "layer out of strategy.targets or strategy.blocks."
    )

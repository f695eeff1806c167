"""Models of timm in stages: convolutional networks and hierarchical transformers (ResNet, ConvNeXt, Swin, ...)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone, TokenState, check_size, parameters_of, sites_of
from peftcorr.backbones.bfloat16 import keep_whole
from peftcorr.backbones.timm.base import TimmModel
from peftcorr.backbones.timm.layers import roles, separate_projections
from peftcorr.backbones.timm.trace import NoStages, StageRow, find_stages, live_parameters
from peftcorr.errors import PeftCorrError


class _Entered(Exception):
    """Carries what enters the first stage out of the model's own forward."""

    def __init__(self, state: Tensor):
        super().__init__()
        self.state = state


class TimmStages(TimmModel):
    """A model in stages, which are its blocks; features are the map of the last stage that runs.

    The final norm follows where all stages run and timm applies one to the map; what timm puts after the last stage
    for classification alone (a wide convolution, say) is removed with the classifier.

    A stage holds several blocks of its own, so that a strategy that attaches to one residual stream finds no place:
    `sites` has convolutions, and of attention and MLPs the layers whose role is certain.
    """

    def __init__(self, config: Backbone.Config, model: Any, row: StageRow, unused: Sequence[str] = ()):
        super().__init__(config, model)
        depth = self.tapped(len(row.stages))
        self.row = row.stages[:depth]
        self.norm_name = row.norm if depth == len(row.stages) else None
        self.channels, self.stride = self.row[-1].channels, self.row[-1].stride
        check_size(config.image_size, self.stride)
        for name in (*(stage.name for stage in row.stages[depth:]), *unused):
            model.set_submodule(name, nn.Identity())
        self._sites = []
        for stage in self.row:
            module = model.get_submodule(stage.name)
            for inner, layer in module.named_modules():
                if isinstance(layer, nn.Linear | nn.Conv2d) and inner not in stage.layers:
                    keep_whole(layer)
            separate_projections(module, stage.layers)
            linears = roles(module, stage.layers)
            self._sites.append(sites_of(self, f"model.{stage.name}", stage.channels, linears))
        self._settle()

    def blocks(self) -> Sequence[nn.Module]:
        """The stages."""
        return [self.model.get_submodule(stage.name) for stage in self.row]

    def final_norm(self) -> nn.Module | None:
        """The norm after the last stage."""
        return None if self.norm_name is None else self.model.get_submodule(self.norm_name)

    def _enter(self, images: Tensor) -> Tensor:
        """What the model's own forward gives its first stage, in its own layout; it goes no further."""

        def leave(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            raise _Entered(inputs[0])

        handle = self.blocks()[0].register_forward_pre_hook(leave, prepend=True)
        try:
            self.model.forward_features(images)
        except _Entered as entered:
            return entered.state
        finally:
            handle.remove()
        raise AssertionError("the first stage was not entered")

    def _read(self, state: TokenState) -> Tensor:
        norm, features = self.final_norm(), state.tokens
        if norm is not None:
            features = norm(features)
        if self.row[-1].channels_last:
            features = features.permute(0, 3, 1, 2)
        return features.contiguous()


def plan(config: Backbone.Config, name: str, skeleton: Any) -> tuple[StageRow, list[str]]:
    """Find the stages of a model, and its children that take no part in the features.

    Args:
        config: validated options.
        name: timm's name of it.
        skeleton: the model on the meta device; changed.

    Raises:
        PeftCorrError: if it is no row of stages, or parameters inside a stage take no part, which could be neither
            trained nor counted.
    """
    try:
        row = find_stages(skeleton, config.image_size)
        return row, _unused(TimmStages(config, skeleton, row))
    except NoStages as reason:
        raise PeftCorrError(
            f"timm's {name} cannot be a backbone here: {reason}. Choose a plain vision transformer or a model that "
            "runs in stages, such as convnext_tiny, resnet50 or swin_tiny_patch4_window7_224."
        ) from reason


def _unused(backbone: TimmStages) -> list[str]:
    size, model = backbone.config.image_size, backbone.model
    backbone.requires_grad_(True)
    with torch.enable_grad():
        features = backbone.features(torch.zeros((1, 3, size, size), device="meta"))
        live = live_parameters(model, features)
    children = [
        child
        for child, module in model.named_children()
        if parameters_of(module) and not any(name.startswith(f"{child}.") for name in live)
    ]
    dead = {name for name, _ in model.named_parameters()} - live
    within = sorted(name for name in dead if name.partition(".")[0] not in children)
    if within:
        raise NoStages(f"{within[0]} takes no part in its feature map")
    return children

"""What a strategy is: how a backbone is changed for training, and which of its tensors are its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone, BlockSites
from peftcorr.backbones.bfloat16 import widen_trained
from peftcorr.errors import BrokenContract, PeftCorrError

if TYPE_CHECKING:
    from peftcorr.strategies.tuners.peft_format import PeftForm

Blocks = Annotated[
    Literal["all"] | Annotated[list[int], Field(min_length=1)],
    Field(description="which blocks are adapted: all, or their indices, negative from the end"),
]


class Strategy(ABC):
    """A way to adapt a backbone. A plugin derives from it; the core needs no edit.

    `apply` gets a backbone whose every parameter is frozen. It unfreezes or injects, and leaves the features as they
    were. Every run holds a strategy to this: see `peftcorr.strategies.contract`.

    Attributes:
        starts_changed: whether the features are others once it is applied, before any training.
        innermost: whether it changes the output of single pretrained layers: in a combination it is applied, and
            merged, before parts that wrap such layers or act on what they add up to.
    """

    starts_changed: bool = False
    innermost: ClassVar[bool] = False

    class Config(BaseModel):
        """Options of a recipe's ``strategy`` section."""

        model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, config: BaseModel):
        self.config = config

    @abstractmethod
    def apply(self, backbone: Backbone) -> None:
        """Unfreeze or inject, in place."""

    @abstractmethod
    def expected_parameters(self, backbone: Backbone) -> int:
        """Number of trainable parameters by closed form; checked against the real count after `apply`."""

    def trains(self) -> bool:
        """Whether there is anything to train."""
        return True

    def first_trainable_block(self, backbone: Backbone) -> int:
        """Index of the first block this strategy changes: all before it may be computed once."""
        return 0

    def learning_rate(self) -> float:
        """Learning rate used when a recipe names none."""
        return 1e-3

    def state_dict(self, backbone: Backbone) -> dict[str, Tensor]:
        """The tensors that are this strategy's own, by name, on the CPU."""
        return {
            name: parameter.detach().cpu().contiguous()
            for name, parameter in backbone.named_parameters()
            if parameter.requires_grad
        }

    def load_state_dict(self, backbone: Backbone, state: dict[str, Tensor]) -> None:
        """Put back what `state_dict` gave, on a backbone that `apply` was called on.

        Raises:
            PeftCorrError: if names or shapes are not those of this strategy with these options.
        """
        own = {name: p for name, p in backbone.named_parameters() if p.requires_grad}
        if own.keys() != state.keys():
            odd = sorted(own.keys() ^ state.keys())
            raise PeftCorrError(
                f"The adapter file is of another strategy or options: {odd[0]} is on one side only."
            )
        for name, parameter in own.items():
            if parameter.shape != state[name].shape:
                raise PeftCorrError(
                    f"The adapter file has {name} of shape {tuple(state[name].shape)}, this strategy has "
                    f"{tuple(parameter.shape)}: its options differ."
                )
            with torch.no_grad():
                parameter.copy_(state[name])

    def penalty(self, backbone: Backbone) -> Tensor | None:
        """What the strategy adds to the loss of every step, a scalar; nothing unless it says so."""
        return None

    def after_step(self, backbone: Backbone, step: int, steps: int) -> None:  # noqa: B027
        """Called after optimiser step `step` of `steps`, counted from 1, while its gradients are still there.

        A learning-rate search trains several times on one strategy: step 1 begins anew.
        """

    def training_state(self) -> dict[str, Tensor]:
        """What `after_step` remembers from step to step beside the strategy's own tensors."""
        return {}

    def load_training_state(self, backbone: Backbone, state: dict[str, Tensor]) -> None:  # noqa: B027
        """Put back what `training_state` gave, so that an interrupted training goes on as it would have."""

    def peft_form(self, backbone: Backbone) -> PeftForm | None:
        """The adapter as Hugging Face peft itself writes and reads it, where the method is one of peft's."""
        return None

    def merge(self, backbone: Backbone) -> None:
        """Fold the change into the backbone's own weights where that is exact.

        Raises:
            PeftCorrError: if the strategy has no exact merge.
        """
        raise PeftCorrError(
            f"The strategy {type(self).__name__} has no exact merge: keep the adapter beside the model."
        )


def apply_checked(strategy: Strategy, backbone: Backbone) -> None:
    """Freeze the backbone, apply the strategy, and hold it to its own closed form.

    Raises:
        PeftCorrError: if the strategy cannot be applied, or as `check_count`.
    """
    backbone.requires_grad_(False)
    apply(strategy, backbone)
    check_count(strategy, backbone)


def apply(strategy: Strategy, backbone: Backbone) -> None:
    """Apply a strategy; what it trains is float32 then, whatever the pretrained weights are held in."""
    strategy.apply(backbone)
    widen_trained(backbone)


def check_count(strategy: Strategy, backbone: Backbone) -> None:
    """Compare what an applied strategy left trainable with its closed form.

    Raises:
        BrokenContract: if the numbers of parameters differ.
    """
    real, expected = backbone.trainable_parameters(), strategy.expected_parameters(backbone)
    if real != expected:
        raise BrokenContract(
            f"The strategy {type(strategy).__name__} left {real:,} parameters trainable, but its closed form says "
            f"{expected:,}: one of the two is wrong."
        )


def chosen_blocks(backbone: Backbone, blocks: str | list[int]) -> list[BlockSites]:
    """The sites of the blocks that an option names: ``all`` or a list of indices (negative from the end).

    Raises:
        PeftCorrError: if an index is beyond the backbone's blocks.
    """
    sites = backbone.sites()
    if isinstance(blocks, str):
        return sites
    for index in blocks:
        if not -len(sites) <= index < len(sites):
            raise PeftCorrError(
                f"strategy.blocks has {index}, but this backbone has blocks 0 to {len(sites) - 1}."
            )
    return [sites[index] for index in sorted({index % len(sites) for index in blocks})]


class BlockStrategy(Strategy):
    """One that changes the blocks which its option ``blocks`` names, and nothing before the first of them."""

    config: Any

    def sites(self, backbone: Backbone) -> list[BlockSites]:
        """The sites of these blocks; see `chosen_blocks`."""
        return chosen_blocks(backbone, self.config.blocks)

    def first_trainable_block(self, backbone: Backbone) -> int:
        """The first of these blocks."""
        order = [site.block for site in backbone.sites()]
        return order.index(self.sites(backbone)[0].block) if order else 0


def layers_of(backbone: Backbone, blocks: str | list[int], roles: Sequence[str]) -> list[str]:
    """Names of the linear layers (or convolutions) that have these roles in the chosen blocks.

    Raises:
        PeftCorrError: if a chosen block has no layer of a role.
    """
    names: list[str] = []
    for site in chosen_blocks(backbone, blocks):
        for role in roles:
            if not site.linears.get(role):
                raise PeftCorrError(
                    f"strategy.targets has {role}, but {site.block} of this backbone has only "
                    f"{', '.join(sorted(site.linears)) or 'layers without a role'}: choose among these."
                )
            names.extend(site.linears[role])
    return names


def place(site: BlockSites, what: Literal["norm2", "attention_output", "mlp_output"], strategy: str) -> str:
    """Name of a module that a strategy hooks.

    Raises:
        PeftCorrError: if the block has no such place.
    """
    name: str | None = getattr(site, what)
    if name is None:
        raise PeftCorrError(
            f"The strategy {strategy} needs a place that {site.block} of this backbone does not have ({what}): choose "
            "another strategy, or other blocks if some have it."
        )
    return name


class Row(nn.Sequential):
    """Layers one after the other, without those that a strategy added as children: their hooks run them."""

    def forward(self, features: Tensor) -> Tensor:
        """As every ``nn.Sequential``'s."""
        for layer in self:
            if not getattr(layer, INJECTED, False):
                features = layer(features)
        return features


INJECTED = "injected"
"""Attribute of the modules that `inject` added: they are no part of the pretrained backbone."""


def inject(backbone: Backbone, block: str, name: str, module: nn.Module) -> None:
    """Add `module` to a block as a child, so that the base's own state-dict keys stay as they were.

    It is marked as injected, so that no strategy takes it for pretrained (`peftcorr.strategies.pretrained`), and that
    a block which is a plain row of layers does not run it.
    """
    parent = backbone.get_submodule(block)
    if type(parent) is nn.Sequential:
        parent.__class__ = Row
    reference = next(parent.parameters())
    setattr(module, INJECTED, True)
    parent.add_module(name, module.to(device=reference.device))

"""Backbones that say of themselves what is not true, each refused by its check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone, BlockSites, TokenState
from peftcorr.backbones.check import checks
from peftcorr.backbones.identity import Weights
from peftcorr.backbones.small import families
from peftcorr.errors import BrokenContract
from tests.strategies.convolutional import Convolutional


class Sound(Convolutional):
    """With the option `layer`, and on the meta device without weights."""

    def __init__(self, config: Backbone.Config | None = None):
        super().__init__()
        if config is not None:
            self.config = config
        self.stages = self.stages[: self.tapped(len(self.stages))]
        self._sites = self._sites[: len(self.stages)]

    @classmethod
    def build(cls, config: Backbone.Config, weights: Weights | None) -> Backbone:
        made = cls(config)
        return made.to("meta") if weights is None else made


class Shifted(Sound):
    def tail(self, state: TokenState, k: int) -> Tensor:
        return super().tail(state, max(k - 1, 0))


class WrongStride(Sound):
    def __init__(self, config: Backbone.Config | None = None):
        super().__init__(config)
        self.stride = 16


class Random(Sound):
    def tail(self, state: TokenState, k: int) -> Tensor:
        return super().tail(state, k) + torch.rand(())


class NotFinite(Sound):
    def tail(self, state: TokenState, k: int) -> Tensor:
        return super().tail(state, k) / 0


class OfTheBatch(Sound):
    def tail(self, state: TokenState, k: int) -> Tensor:
        found = super().tail(state, k)
        return found - found.mean(0, keepdim=True) / 10


class Swapped(Sound):
    def sites(self) -> list[BlockSites]:
        return super().sites()[::-1]


class TooMany(Sound):
    def sites(self) -> list[BlockSites]:
        return [replace(site, parameters=1) for site in super().sites()]


class Elsewhere(Sound):
    def sites(self) -> list[BlockSites]:
        return [replace(site, norm2="stages.9.norm") for site in super().sites()]


class OddRole(Sound):
    def sites(self) -> list[BlockSites]:
        return [replace(site, linears={"convolution": site.linears["conv"]}) for site in super().sites()]


class TooFewSites(Sound):
    def sites(self) -> list[BlockSites]:
        return super().sites()[:1]


class DeadParameter(Sound):
    def __init__(self, config: Backbone.Config | None = None):
        super().__init__(config)
        self.mask = nn.Parameter(torch.zeros(3), requires_grad=False)


class NoCopy(Sound):
    def __init__(self, config: Backbone.Config | None = None):
        super().__init__(config)
        self.generator = (number for number in range(3))


class WithValues(Sound):
    @classmethod
    def build(cls, config: Backbone.Config, weights: Weights | None) -> Backbone:
        return cls(config)


class OtherShapes(Sound):
    @classmethod
    def build(cls, config: Backbone.Config, weights: Weights | None) -> Backbone:
        made = super().build(config, weights)
        if weights is None:
            made.stem = nn.Conv2d(3, 8, 8, 8, bias=False, device="meta")
        return made


class NoLayer(Sound):
    def tapped(self, depth: int) -> int:
        return depth


class NoBlocks(Sound):
    def blocks(self) -> Sequence[nn.Module]:
        return []


WRONG: tuple[tuple[type[Backbone], str, str], ...] = (
    (WrongStride, "map", r"gives features of shape \(2, 8, 4, 4\) .* say \(2, 8, 2, 2\)"),
    (Random, "map", "gives other features of the same images"),
    (NotFinite, "map", "gives features that are not finite"),
    (Shifted, "cuts", "gives other features when it is cut at block 1"),
    (NoBlocks, "cuts", "has no blocks"),
    (OfTheBatch, "batches", "gives an image other features in another batch"),
    (Swapped, "sites", r"says that site 0 is stages\.1, which is not blocks\(\)\[0\]"),
    (TooMany, "sites", r"says that stages\.0 has 1 parameters, but it has"),
    (Elsewhere, "sites", r"names stages\.9\.norm in its sites"),
    (OddRole, "sites", "has a layer of the role 'convolution'"),
    (TooFewSites, "sites", "has 2 blocks and 1 sites"),
    (DeadParameter, "parameters", "has mask, which takes no part in the features"),
    (NoCopy, "copies", "cannot be copied"),
    (WithValues, "shapes", "has values when build gets no weights"),
    (OtherShapes, "shapes", r"has another stem\.bias when it is built on the meta device"),
    (NoLayer, "layer", "does not heed the option layer"),
)
WEIGHTS = Weights("made", None, None, official=False)


def carried_out(cls: type[Backbone]) -> Callable[[], list[str]]:
    """Carries out the checks, noting the names of those that it comes to."""
    names: list[str] = []
    config = Backbone.Config(image_size=32)

    def run() -> list[str]:
        def shapes(**options: Any) -> Backbone:
            return cls.build(config.model_copy(update=options), None)

        for name, check in checks(lambda: cls.build(config, WEIGHTS), shapes):
            names.append(name)
            check()
        return names

    run.names = names  # type: ignore[attr-defined]
    return run


def test_a_sound_backbone_passes() -> None:
    found = carried_out(Sound)()
    assert found == ["map", "cuts", "batches", "sites", "parameters", "copies", "shapes", "layer"]


@pytest.mark.parametrize(("cls", "check", "said"), WRONG, ids=lambda value: getattr(value, "__name__", ""))
def test_a_wrong_one_is_refused_by_its_check(cls: type[Backbone], check: str, said: str) -> None:
    run = carried_out(cls)
    with pytest.raises(BrokenContract, match=f"The backbone {cls.__name__} {said}"):
        run()
    assert run.names[-1] == check  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", families())
def test_the_small_families_are_sound(name: str) -> None:
    """Whatever of it does not ask for a class that is registered; each is made anew, and the same."""
    make = families()[name]
    for check_name, check in checks(make, lambda **_: make().to("meta")):
        if check_name != "layer":
            check()
    one, other = (make().state_dict() for _ in range(2))
    assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())

"""Strategies that break their contract, each refused by name; those that keep it are all of the package's."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone
from peftcorr.errors import BrokenContract, PeftCorrError
from peftcorr.strategies import STRATEGIES, Strategy
from peftcorr.strategies.base import inject, place
from peftcorr.strategies.contract import Contract, Untouched, _digests, held
from peftcorr.strategies.frozen import Frozen
from tests.small_models import Small, build, images
from tests.strategies.convolutional import Convolutional

FIRST = "model.encoder.layer.0"


class Scale(nn.Module):
    """gamma y, behind the MLP of a block."""

    def __init__(self, start: float = 1.0):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((32,), start))
        self.unused: nn.Parameter | None = None

    def after(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return self.gamma * output


class Sound(Strategy):
    """Scales what the MLP of every block adds: what the wrong ones below are changed from."""

    def apply(self, backbone: Backbone) -> None:
        for site in backbone.sites():
            scale = self.scale()
            inject(backbone, site.block, "scale", scale)
            backbone.get_submodule(place(site, "mlp_output", "sound")).register_forward_hook(scale.after)

    def scale(self) -> Scale:
        return Scale()

    def expected_parameters(self, backbone: Backbone) -> int:
        return 32 * len(backbone.sites())


class ScalesWeights(Sound):
    def apply(self, backbone: Backbone) -> None:
        super().apply(backbone)
        with torch.no_grad():  # undone by the next layer, so that the features are all but as they were
            mlp = backbone.get_submodule(FIRST).mlp
            mlp.fc2.weight.mul_(2)  # type: ignore[union-attr, operator]
            backbone.get_submodule(FIRST).layer_scale2.lambda1.mul_(0.5)  # type: ignore[union-attr, operator]


class ReplacesWeights(Sound):
    def apply(self, backbone: Backbone) -> None:
        super().apply(backbone)
        norm = backbone.final_norm()
        assert norm is not None
        norm.weight = nn.Parameter(2 * norm.weight.detach(), requires_grad=False)  # type: ignore[operator]


class WrongBlock(Sound):
    def first_trainable_block(self, backbone: Backbone) -> int:
        return 1


class HookedBefore(Sound):
    """What it trains is a child of the last block, and acts in the first."""

    def apply(self, backbone: Backbone) -> None:
        scale = Scale()
        inject(backbone, backbone.sites()[-1].block, "scale", scale)
        place = backbone.sites()[0].mlp_output
        assert place is not None
        backbone.get_submodule(place).register_forward_hook(scale.after)

    def expected_parameters(self, backbone: Backbone) -> int:
        return 32

    def first_trainable_block(self, backbone: Backbone) -> int:
        return 2


class NoBlock(Sound):
    def first_trainable_block(self, backbone: Backbone) -> int:
        return 9


class StartsElsewhere(Sound):
    def scale(self) -> Scale:
        return Scale(1.5)


class StartsNowhere(Sound):
    def scale(self) -> Scale:
        return Scale(float("nan"))


class Dead(Sound):
    def scale(self) -> Scale:
        scale = Scale()
        scale.unused = nn.Parameter(torch.zeros(8))
        return scale

    def expected_parameters(self, backbone: Backbone) -> int:
        return 40 * len(backbone.sites())


class WrongCount(Sound):
    def expected_parameters(self, backbone: Backbone) -> int:
        return 33 * len(backbone.sites())


class Forgets(Sound):
    """Saves the scales of all blocks but the first."""

    def state_dict(self, backbone: Backbone) -> dict[str, Tensor]:
        return {name: t for name, t in super().state_dict(backbone).items() if not name.startswith(FIRST)}

    def load_state_dict(self, backbone: Backbone, state: dict[str, Tensor]) -> None:
        backbone.load_state_dict(state, strict=False)


class ForgetsPretrained(Strategy):
    """Trains a pretrained tensor, and does not save it."""

    def apply(self, backbone: Backbone) -> None:
        backbone.get_submodule(FIRST).norm1.weight.requires_grad_(True)  # type: ignore[union-attr, operator]

    def expected_parameters(self, backbone: Backbone) -> int:
        return 32

    def state_dict(self, backbone: Backbone) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, backbone: Backbone, state: dict[str, Tensor]) -> None:
        pass


class Drawn(Sound):
    """Behind a product with a random vector that is in no file: another process draws another one."""

    def scale(self) -> Scale:
        scale = Scale(0.0)
        scale.register_buffer("drawn", torch.randn(32))
        scale.after = lambda _, __, y: y + scale.gamma * scale.drawn * y  # type: ignore[method-assign, operator]
        return scale


class Refuses(Sound):
    """Gives an adapter that it does not take back."""

    def state_dict(self, backbone: Backbone) -> dict[str, Tensor]:
        return {f"mine.{name}": tensor for name, tensor in super().state_dict(backbone).items()}


class Moves(Sound):
    """Changes a frozen tensor step by step."""

    def after_step(self, backbone: Backbone, step: int, steps: int) -> None:
        with torch.no_grad():
            backbone.get_submodule(FIRST).norm1.bias.add_(1e-6)  # type: ignore[union-attr, operator]


BEFORE: tuple[tuple[type[Strategy], str], ...] = (
    (
        ScalesWeights,
        rf"ScalesWeights changes the pretrained tensor {FIRST}\.mlp\.fc2\.weight when it is applied",
    ),
    (ReplacesWeights, r"ReplacesWeights changes the pretrained tensor model\.layernorm\.weight when"),
    (
        WrongBlock,
        rf"WrongBlock says that block 1 is the first it changes, but {FIRST}\.scale\.gamma lies before it",
    ),
    (
        HookedBefore,
        r"HookedBefore says that block 2 is the first .* but model\.encoder\.layer\.2\.scale\.gamma lies",
    ),
    (NoBlock, r"NoBlock says that block 9 is the first it changes, but this backbone has 3 blocks"),
    (StartsElsewhere, r"StartsElsewhere starts with features that differ .* or say starts_changed = True"),
    (StartsNowhere, r"StartsNowhere starts with features that differ .* by nan of their size"),
    (Dead, rf"Dead trains {FIRST}\.scale\.unused and 2 more, which no gradient reaches"),
    (WrongCount, r"WrongCount left 96 parameters trainable, but its closed form says 99"),
)
AFTER: tuple[tuple[type[Strategy], str], ...] = (
    (
        Forgets,
        r"Forgets does not come back: its adapter, loaded into a fresh backbone, gives features that differ",
    ),
    (ForgetsPretrained, r"ForgetsPretrained does not come back"),
    (Drawn, r"Drawn does not come back"),
    (
        Refuses,
        r"Refuses does not take back the adapter that it gave: The adapter file is of another strategy",
    ),
    (Moves, rf"Moves changed the frozen tensor {FIRST}\.norm1\.bias in training"),
)


def contract(weights: Path, cls: type[Strategy]) -> Contract:
    return Contract(cls(cls.Config()), build(Small, weights))


def train(watched: Contract, steps: int = 2) -> None:
    backbone = watched.backbone
    optimizer = torch.optim.AdamW([p for p in backbone.parameters() if p.requires_grad], lr=1e-2)
    for step in range(1, steps + 1):
        backbone(images()).square().mean().backward()
        optimizer.step()
        watched.strategy.after_step(backbone, step, steps)
        optimizer.zero_grad()


@pytest.mark.parametrize(("cls", "said"), BEFORE, ids=lambda value: getattr(value, "__name__", ""))
def test_it_is_refused_before_training(small_weights: Path, cls: type[Strategy], said: str) -> None:
    with pytest.raises(BrokenContract, match=said):
        contract(small_weights, cls).begin()


@pytest.mark.parametrize(("cls", "said"), AFTER, ids=lambda value: getattr(value, "__name__", ""))
def test_it_is_refused_after_training(small_weights: Path, cls: type[Strategy], said: str) -> None:
    watched = contract(small_weights, cls)
    watched.begin()
    train(watched)
    with pytest.raises(BrokenContract, match=said):
        watched.end()


def test_a_sound_one_is_left_alone(small_weights: Path) -> None:
    """Modes, random numbers and gradients are as they were; the trained backbone is the one that was trained."""
    backbone = build(Small, small_weights)
    backbone.train()
    backbone.model.encoder.eval()
    modes = [(module, module.training) for module in backbone.modules()]
    torch.manual_seed(3)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    watched = Contract(Sound(Sound.Config()), backbone)
    watched.begin()
    assert torch.equal(torch.rand(1), drawn)
    assert [module for module, mode in modes if module.training != mode] == []
    assert all(parameter.grad is None for parameter in backbone.parameters())
    train(watched)
    trained = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    watched.end()
    assert all(torch.equal(tensor, trained[name]) for name, tensor in backbone.state_dict().items())
    assert backbone.trainable_parameters() == 96


def test_a_changed_start_that_is_said_is_allowed(small_weights: Path) -> None:
    class Said(StartsElsewhere):
        starts_changed = True

    watched = contract(small_weights, Said)
    watched.begin()
    train(watched)
    watched.end()


def test_who_starts_elsewhere_says_so() -> None:
    def says(name: str, **options: Any) -> bool:
        cls = STRATEGIES.get(name)
        return cls(cls.Config(**options)).starts_changed

    assert [name for name in STRATEGIES.names() if says(name)] == ["adapter", "vpt"]
    assert not says("head")
    assert says("head", channels=8)
    assert says("lora+vpt")
    assert not says("lora+norm")


def test_running_statistics_may_move(small_weights: Path) -> None:
    """Of a backbone whose norms follow the batches; all else that is frozen may not."""

    class Last(Strategy):
        def apply(self, backbone: Backbone) -> None:
            backbone.get_submodule("stages.1").requires_grad_(True)

        def expected_parameters(self, backbone: Backbone) -> int:
            return backbone.sites()[1].parameters

    backbone = Convolutional(nn.BatchNorm2d(8), nn.GroupNorm(2, 8))
    watched = Contract(Last(Last.Config()), backbone)
    watched.begin()
    backbone.train()
    backbone(torch.rand(2, 3, 32, 32))
    assert float(backbone.stages[0].norm.running_mean.abs().max()) > 0  # type: ignore[union-attr, operator]
    watched.check_frozen()


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.view(-1)[7].add_(1e-7),
        lambda t: t.copy_(t.flip(0)),
        lambda t: t.mul_(-1),
        lambda t: t.view(-1)[0].fill_(float("nan")),
        lambda t: t[0, 0].copy_(-torch.zeros(())),
    ],
)
def test_a_digest_sees_every_change(change: Callable[[Tensor], object]) -> None:
    tensor = torch.rand((9, 11), generator=torch.Generator().manual_seed(0))
    tensor[0, 0] = 0
    before = _digests({"t": tensor, "same": tensor.clone()})
    assert before["t"] == before["same"]
    change(tensor)
    assert _digests({"t": tensor})["t"] != before["t"]


def test_a_refusal_is_one_sentence_with_a_mend(small_weights: Path) -> None:
    for cls, _ in BEFORE:
        with pytest.raises(PeftCorrError) as caught:
            contract(small_weights, cls).begin()
        assert re.match(rf"The strategy {cls.__name__} .*: .*\.$", str(caught.value))
        assert "\n" not in str(caught.value)


def test_the_frozen_strategy_is_not_watched_and_a_plugin_that_trains_nothing_is(small_weights: Path) -> None:
    class Still(Frozen):
        """A plugin's."""

    class Scaled(Frozen):
        def apply(self, backbone: Backbone) -> None:
            with torch.no_grad():
                next(backbone.parameters()).mul_(2)

    cpu = torch.device("cpu")
    plain = held(Frozen(Frozen.Config()), build(Small, small_weights), cpu)
    assert isinstance(plain, Untouched)
    plain.backbone.requires_grad_(True)
    plain.begin()
    assert plain.backbone.trainable_parameters() == 0
    plain.end()
    assert isinstance(held(Still(Still.Config()), build(Small, small_weights), cpu), Contract)
    with pytest.raises(BrokenContract, match="changes the pretrained tensor"):
        held(Scaled(Scaled.Config()), build(Small, small_weights), cpu).begin()

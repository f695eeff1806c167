"""A strategy held to its word: what `Strategy` promises, measured on the backbone that it is applied to.

Before training: pretrained values are untouched, nothing before `first_trainable_block` is trained or added, features
are those of the pretrained backbone unless the class says `starts_changed`, and a gradient reaches every tensor that is
trained. After training: what is frozen did not change, and the adapter gives the same features on a fresh backbone.

One image is enough for all of it. The fresh backbone is no second one: it is a copy of the modules, made before the
strategy was applied, that shares the frozen tensors.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone, TokenState
from peftcorr.errors import BrokenContract, PeftCorrError
from peftcorr.machine.processors import processors
from peftcorr.strategies.base import INJECTED, Strategy, apply, apply_checked, check_count
from peftcorr.strategies.frozen import Frozen

_TOLERANCE = 1e-4  # of the features' size: rotations and rescaled norms start at the identity up to rounding
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class Contract:
    """A strategy and the backbone it is applied to, watched from before the first until after the last step.

    `begin` before training and `end` after it check everything; the single checks are there for `check-plugin`.

    Args:
        strategy: not applied yet.
        backbone: as it was pretrained, on the CPU.
        device: where the backbone goes: features are computed there. `apply` runs on the CPU whatever it is, so that
            what it draws does not depend on the device.
    """

    def __init__(self, strategy: Strategy, backbone: Backbone, device: torch.device | None = None):
        self.strategy, self.backbone = strategy, backbone
        self._device = device or torch.device("cpu")
        self._image = _image(backbone).to(self._device)
        backbone.requires_grad_(False)
        with torch.no_grad():
            self._plain = self._features(backbone.to(self._device), 0)[1]
        backbone.to("cpu")
        self._bare = _bare(backbone)
        self._pretrained = dict(_tensors(backbone))
        self._digests = _digests(self._pretrained)

    def begin(self) -> None:
        """Apply the strategy, check all that can be seen before training, and move the backbone to its device.

        Raises:
            BrokenContract: if the strategy does not keep to its contract.
            PeftCorrError: if it cannot be applied to this backbone.
        """
        self.apply()
        check_count(self.strategy, self.backbone)
        self.check_weights()
        self.check_first_block()
        self.check_start()
        self.check_gradients()

    def end(self) -> None:
        """Check all that can be seen after training.

        Raises:
            BrokenContract: if the strategy does not keep to its contract.
        """
        self.check_frozen()
        self.check_saved()

    def apply(self) -> None:
        """Apply the strategy."""
        apply(self.strategy, self.backbone)
        self._first = self.strategy.first_trainable_block(self.backbone)
        self._applied = dict(_tensors(self.backbone))
        self._applied_digests = _digests(self._applied)
        loose = _may_change(self.backbone)
        self._frozen = [n for n, tensor in self._applied.items() if not (tensor.requires_grad or n in loose)]
        self._began = {
            n: tensor.detach().clone() for n, tensor in self._pretrained.items() if tensor.requires_grad
        }

    def check_weights(self) -> None:
        """Refuse a strategy that changes or takes away a pretrained tensor when it is applied."""
        names = {id(tensor): name for name, tensor in self._applied.items()}
        for name, tensor in self._pretrained.items():
            # A library may wrap a layer, and so rename its tensors, or put an equal one in a tensor's place.
            now = names.get(id(tensor), name)
            if self._applied_digests.get(now) != self._digests[name]:
                raise self._broken(
                    f"changes the pretrained tensor {name} when it is applied: let apply unfreeze and inject, and "
                    "leave pretrained values as they are."
                )

    def check_first_block(self) -> None:
        """Refuse trained or added tensors before the block that the strategy calls the first it changes."""
        blocks, pretrained = self.backbone.blocks(), {id(tensor) for tensor in self._pretrained.values()}
        if not 0 <= self._first <= len(blocks):
            raise self._broken(
                f"says that block {self._first} is the first it changes, but this backbone has {len(blocks)} blocks: "
                "let first_trainable_block give an index of blocks()."
            )
        before = {id(tensor) for block in blocks[: self._first] for _, tensor in _tensors(block)}
        for name, tensor in self._applied.items():
            if id(tensor) in before and (tensor.requires_grad or id(tensor) not in pretrained):
                raise self._too_late(name)

    def check_start(self) -> None:
        """Refuse features that start elsewhere, and tensors that act before the first block that the strategy names.

        Nothing is before block 0, embeddings included: no state is kept that would leave them out.
        """
        state, self._start = self._features(self.backbone.to(self._device), self._first)
        if self._first and state.tokens.requires_grad:
            gradients = self._gradients(state.tokens)
            raise self._too_late(next(name for name, gradient in gradients.items() if gradient is not None))
        self._entering = state.tokens.detach()
        if self.strategy.starts_changed:
            return
        if not (found := difference(self._start, self._plain)) <= _TOLERANCE:
            raise self._broken(
                f"starts with features that differ from the pretrained backbone's by {found:.1e} of their size: "
                "begin at the identity, for example with a last layer of zeros, or say starts_changed = True in the "
                "class."
            )

    def check_gradients(self) -> None:
        """Refuse a trained tensor that no gradient reaches; one of zeros is a gradient."""
        penalty = self.strategy.penalty(self.backbone)
        outcome = self._start.sum() if penalty is None else self._start.sum() + penalty
        dead = [name for name, gradient in self._gradients(outcome).items() if gradient is None]
        del self._start
        if dead:
            others = f" and {len(dead) - 1} more" if len(dead) > 1 else ""
            raise self._broken(
                f"trains {dead[0]}{others}, which no gradient reaches: let the features depend on it, or leave it "
                "frozen."
            )

    def check_frozen(self) -> None:
        """Refuse a change of anything that was to stay as it is: frozen tensors, and the state of frozen blocks."""
        there = dict(_tensors(self.backbone))
        digests = _digests({name: there[name] for name in self._frozen if name in there})
        for name in self._frozen:
            if digests.get(name) != self._applied_digests[name]:
                raise self._broken(
                    f"changed the frozen tensor {name} in training: let it change what it left trainable alone."
                )
        with torch.no_grad():
            state, self._trained = self._features(self.backbone, self._first)
        found = difference(state.tokens, self._entering) if self._first else 0.0
        if not found <= _TOLERANCE:
            raise self._broken(
                f"changed what enters block {self._first} in training, by {found:.1e} of its size, and says that "
                "this is the first block it changes: let first_trainable_block name an earlier one."
            )

    def check_saved(self) -> None:
        """Refuse an adapter that gives other features on a fresh backbone than the trained one has."""
        if self._bare is None:
            return
        fresh = self._bare
        values = {
            name: self._began.get(name, tensor).detach()
            for name, tensor in self._pretrained.items()
            if isinstance(tensor, nn.Parameter)
        }
        fresh.load_state_dict(values, strict=False, assign=True)
        fresh.requires_grad_(False).to(self._device)
        strategy = type(self.strategy)(self.strategy.config)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(1)  # whatever is drawn and not saved must show
            apply(strategy, fresh)
            try:
                strategy.load_state_dict(fresh, self.strategy.state_dict(self.backbone))
            except PeftCorrError as error:
                raise self._broken(f"does not take back the adapter that it gave: {error}") from error
            features = self._features(fresh, self._first)[1]
        if not (found := difference(features, self._trained)) <= _TOLERANCE:
            raise self._broken(
                f"does not come back: its adapter, loaded into a fresh backbone, gives features that differ by "
                f"{found:.1e} of their size: let state_dict and load_state_dict hold all that training changes."
            )

    def _features(self, backbone: Backbone, k: int) -> tuple[TokenState, Tensor]:
        if backbone.uses_categories:
            backbone.condition(["object"])
        with evaluating(backbone), torch.random.fork_rng(devices=[]):
            state = backbone.prefix(self._image, k)
            return state, backbone.suffix(state, k)

    def _gradients(self, outcome: Tensor) -> dict[str, Tensor | None]:
        trained = {name: p for name, p in self.backbone.named_parameters() if p.requires_grad}
        if not trained or not outcome.requires_grad:
            return dict.fromkeys(trained)
        found = torch.autograd.grad(outcome.sum(), list(trained.values()), allow_unused=True)
        return dict(zip(trained, found, strict=True))

    def _broken(self, what: str) -> BrokenContract:
        return BrokenContract(f"The strategy {type(self.strategy).__name__} {what}")

    def _too_late(self, name: str) -> BrokenContract:
        return self._broken(
            f"says that block {self._first} is the first it changes, but {name} lies before it: let "
            "first_trainable_block name the first block with a trained or added tensor."
        )


class Untouched:
    """In place of a `Contract` where the strategy is `Frozen`: nothing is applied, so there is nothing to be held.

    Args:
        strategy: the frozen one.
        backbone: as it was pretrained.
        device: where it goes.
    """

    def __init__(self, strategy: Frozen, backbone: Backbone, device: torch.device):
        self.strategy: Strategy = strategy
        self.backbone = backbone
        self._device = device

    def begin(self) -> None:
        """Freeze the backbone, and move it to its device."""
        apply_checked(self.strategy, self.backbone)
        self.backbone.to(self._device)

    def end(self) -> None:
        """Nothing was trained."""


def held(strategy: Strategy, backbone: Backbone, device: torch.device) -> Contract | Untouched:
    """A strategy and its backbone, to be watched; a plugin that trains nothing is watched like any other."""
    if type(strategy) is Frozen:
        return Untouched(strategy, backbone, device)
    return Contract(strategy, backbone, device)


def _image(backbone: Backbone) -> Tensor:
    size = backbone.config.image_size
    return torch.rand((1, 3, size, size), generator=torch.Generator().manual_seed(0)) * 2 - 1


def _bare(backbone: Backbone) -> Backbone | None:
    """The modules without their parameters; None of a backbone that cannot be copied, which check-plugin refuses."""
    parameters = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), False) for p in backbone.parameters()
    }
    try:
        return copy.deepcopy(backbone, parameters)
    except Exception:  # whatever a library's object says that has no copy
        return None


@contextmanager
def evaluating(backbone: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode in the block, and as it was after it."""
    modes = [(module, module.training) for module in backbone.modules()]
    backbone.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _may_change(backbone: nn.Module) -> set[str]:
    """Names of buffers that training may change: running statistics, and whatever injected modules have."""
    injected = [name for name, module in backbone.named_modules() if getattr(module, INJECTED, False)]
    return {
        name
        for name, _ in backbone.named_buffers(remove_duplicate=False)
        if name.rpartition(".")[2] in _STATISTICS or any(name.startswith(f"{owner}.") for owner in injected)
    }


def difference(one: Tensor, other: Tensor) -> float:
    """How far apart two tensors are, as a share of the other's size."""
    if one.shape != other.shape:
        return float("inf")
    return float((one.detach() - other).norm() / other.norm())


def _digests(tensors: Mapping[str, Tensor]) -> dict[str, bytes]:
    """A hash of each tensor's bytes: by several threads, and none of torch's, which wait for one another."""
    with ThreadPoolExecutor(processors()) as pool:
        return dict(zip(tensors, pool.map(_digest, tensors.values()), strict=True))


def _digest(tensor: Tensor) -> bytes:
    values = tensor.detach().cpu()
    if values.dtype == torch.bfloat16:  # as it is once a strategy trains it
        values = values.float()
    return hashlib.sha256(values.contiguous().flatten().view(torch.uint8).numpy().data).digest()

"""What `check-plugin` asks of a strategy on one small backbone: its contract, its count from shapes, two steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from peftcorr.backbones.base import Backbone
from peftcorr.errors import BrokenContract, PeftCorrError, reason
from peftcorr.strategies.base import Strategy, apply_checked, check_count
from peftcorr.strategies.contract import Contract, difference, evaluating

_TOLERANCE = 1e-4


def checks(
    make: Callable[[], Strategy], pretrained: Callable[[], Backbone]
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Checks by name, in an order in which each stands on those before it.

    Each raises `BrokenContract`; ``applies`` raises another PeftCorrError where the strategy refuses the backbone.

    Args:
        make: makes the strategy.
        pretrained: makes the backbone, the same each time.
    """
    contract = Contract(make(), pretrained())
    yield "applies", contract.apply
    yield "count", partial(check_count, contract.strategy, contract.backbone)
    yield "weights", contract.check_weights
    yield "first block", contract.check_first_block
    yield "start", contract.check_start
    yield "gradients", contract.check_gradients
    yield "two steps", partial(_two_steps, contract)
    yield "frozen", contract.check_frozen
    yield "comes back", contract.check_saved
    yield "shapes", partial(_shapes, make(), pretrained())
    yield "merge", partial(_merge, contract)


def _two_steps(contract: Contract) -> None:
    """Every matrix moves: with zeros on both sides of a product, neither would ever."""
    backbone, strategy = contract.backbone, contract.strategy
    trained = {name: p for name, p in backbone.named_parameters() if p.requires_grad}
    if not trained:
        return
    before = {name: parameter.detach().clone() for name, parameter in trained.items()}
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-2, weight_decay=0)
    wanted: Tensor | None = None
    backbone.train()
    for step in (1, 2):
        features = _features(backbone)
        wanted = torch.randn_like(features) if wanted is None else wanted
        loss, penalty = ((features - wanted) ** 2).mean(), strategy.penalty(backbone)
        torch.autograd.backward(loss if penalty is None else loss + penalty)
        optimizer.step()
        # As at the end of a training of a thousand steps: schedules are long.
        strategy.after_step(backbone, step, 1000)
        optimizer.zero_grad()
    backbone.eval()
    for name, parameter in trained.items():
        if parameter.dim() > 1 and torch.equal(parameter, before[name]):
            raise BrokenContract(
                f"The strategy {type(strategy).__name__} trains {name}, which two steps do not move: start one side of "
                "a product at zero, not both."
            )


def _shapes(strategy: Strategy, backbone: Backbone) -> None:
    """`peftcorr params` counts on the meta device, where no tensor has values."""
    try:
        apply_checked(strategy, backbone.to("meta"))
    except PeftCorrError:
        raise
    except Exception as error:
        raise BrokenContract(
            f"The strategy {type(strategy).__name__} cannot be applied to shapes alone ({type(error).__name__}: "
            f"{reason(error)}): let apply make tensors of the device and the type that the backbone's have."
        ) from error


def _merge(contract: Contract) -> None:
    """A merge, where there is one, leaves the features as they are."""
    backbone, strategy = contract.backbone, contract.strategy
    with torch.no_grad(), evaluating(backbone):
        before = _features(backbone)
        try:
            strategy.merge(backbone)
        except PeftCorrError:  # it has none
            return
        found = difference(_features(backbone), before)
    if not found <= _TOLERANCE:
        raise BrokenContract(
            f"The strategy {type(strategy).__name__} merges into other features, by {found:.1e} of their size: leave "
            "merge out where it is not exact."
        )


def _features(backbone: Backbone) -> Tensor:
    size = backbone.config.image_size
    images = torch.rand((2, 3, size, size), generator=torch.Generator().manual_seed(1)) * 2 - 1
    if backbone.uses_categories:
        backbone.condition(["object"] * 2)
    return backbone.features(images)

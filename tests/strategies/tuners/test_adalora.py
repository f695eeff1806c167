"""AdaLoRA takes ranks away over the steps of a training, in the trainer's own loop as in ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from peftcorr.backbones.dinov2 import Dinov2
from peftcorr.errors import PeftCorrError
from peftcorr.strategies import Strategy
from tests.small_models import images
from tests.strategies.adapting import adapt

OPTIONS = {"init_r": 6, "target_r": 2, "tinit": 2, "tfinal": 2, "deltaT": 2}


def ranks(strategy: Strategy, backbone: Dinov2) -> int:
    state = strategy.state_dict(backbone)
    return sum(int(tensor.count_nonzero()) for name, tensor in state.items() if ".lora_E." in name)


def train(backbone: Dinov2, strategy: Strategy, first: int, last: int, steps: int) -> list[int]:
    """Steps `first` to `last` of `steps`; returns the ranks that are left after each."""
    trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.5)  # without a state of its own
    wanted = torch.randn(2, 32, 4, 4, generator=torch.Generator().manual_seed(7))
    found = []
    for step in range(first, last + 1):
        penalty = strategy.penalty(backbone)
        assert penalty is not None
        (((backbone(images()) - wanted) ** 2).mean() + penalty).backward()
        optimizer.step()
        strategy.after_step(backbone, step, steps)
        optimizer.zero_grad()
        found.append(ranks(strategy, backbone))
    return found


def test_ranks_go_down_to_the_target(small_weights: Path) -> None:
    """Six of each of 6 layers at first, two on average at last, along the cube of the way that is left."""
    backbone, strategy = adapt(small_weights, "adalora", options=OPTIONS)
    left = train(backbone, strategy, 1, 10, 10)
    budgets = {step: int((36 - 12) * (1 - (step - 2) / 6) ** 3 + 12) for step in (4, 6, 8)}
    assert left[:3] == [36, 36, 36]
    assert left[3] == budgets[4] == 19
    assert left[5] == budgets[6] == 12
    assert left[7:] == [12, 12, 12]
    each = [int(t.count_nonzero()) for n, t in strategy.state_dict(backbone).items() if ".lora_E." in n]
    assert len(set(each)) > 1  # ranks went to where they matter, not the same everywhere


def test_a_training_taken_up_again_goes_on_as_it_would_have(small_weights: Path) -> None:
    through, strategy = adapt(small_weights, "adalora", options=OPTIONS)
    train(through, strategy, 1, 10, 10)
    for pause in (4, 9):
        halted, before = adapt(small_weights, "adalora", options=OPTIONS)
        train(halted, before, 1, pause, 10)
        again, after = adapt(small_weights, "adalora", seed=2, options=OPTIONS)
        after.load_state_dict(again, before.state_dict(halted))
        after.load_training_state(again, before.training_state())
        train(again, after, pause + 1, 10, 10)
        for name, tensor in strategy.state_dict(through).items():
            assert torch.equal(after.state_dict(again)[name], tensor)


def test_a_search_begins_each_training_anew(small_weights: Path) -> None:
    backbone, strategy = adapt(small_weights, "adalora", options=OPTIONS)
    start = {name: tensor.clone() for name, tensor in strategy.state_dict(backbone).items()}
    first = train(backbone, strategy, 1, 10, 10)
    strategy.load_state_dict(backbone, start)
    assert train(backbone, strategy, 1, 10, 10) == first


def test_the_regulariser_by_hand(small_weights: Path) -> None:
    backbone, strategy = adapt(small_weights, "adalora", options={**OPTIONS, "orth_reg_weight": 0.25})
    terms: list[Tensor] = []
    for name, tensor in strategy.state_dict(backbone).items():
        if ".lora_A." in name:
            terms.append((tensor @ tensor.T - torch.eye(6)).norm())
        elif ".lora_B." in name:
            terms.append((tensor.T @ tensor - torch.eye(6)).norm())
    assert len(terms) == 12
    penalty = strategy.penalty(backbone)
    assert penalty is not None
    assert penalty.item() == pytest.approx(0.25 * torch.stack(terms).mean().item(), rel=1e-6)


def test_another_lora_beside_it_is_not_in_its_budget(small_weights: Path) -> None:
    parts = {"adalora": {"options": OPTIONS, "targets": ["fc1"]}, "lora": {"rank": 3, "targets": ["q", "v"]}}
    both, together = adapt(small_weights, "adalora+lora", **parts)
    alone, strategy = adapt(small_weights, "adalora", options=OPTIONS, targets=["fc1"])
    layers = len(alone.blocks())
    assert train(alone, strategy, 1, 10, 10)[-1] == 2 * layers
    assert train(both, together, 1, 10, 10)[-1] == 2 * layers
    kept = together.training_state()
    assert not any("q_proj" in name or "v_proj" in name for name in kept)


@pytest.mark.parametrize("steps", [1, 5])
def test_a_training_that_is_too_short(small_weights: Path, steps: int) -> None:
    backbone, strategy = adapt(small_weights, "adalora", options=OPTIONS)
    with pytest.raises(
        PeftCorrError, match=rf"tinit 2 and the last tfinal 2, but the training has {steps} steps"
    ):
        train(backbone, strategy, 1, 1, steps)


@pytest.mark.parametrize("options", [{}, {"tuner": "dora"}])
def test_other_tuners_add_nothing_to_the_loss(small_weights: Path, options: dict[str, Any]) -> None:
    backbone, strategy = adapt(small_weights, "peft" if options else "lora", **options)
    assert strategy.penalty(backbone) is None
    assert strategy.training_state() == {}

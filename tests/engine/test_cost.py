"""What a run will take, counted by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from peftcorr.engine import cost
from peftcorr.engine.cost import estimate, machine_speed, trained_images
from peftcorr.engine.plan import Model
from peftcorr.recipe import Training
from tests.small_models import Small

SEARCH = {"learning_rates": [1e-3, 1e-2, 1e-1], "steps": 20}


@pytest.mark.parametrize(
    ("training", "images"),
    [
        ({"steps": 100, "images": 5}, 500),
        ({"steps": 100, "images": 5, "accumulation": 4}, 2000),
        ({"steps": 100, "sampler": "pairs", "pairs": 7}, 1400),
        ({"steps": 100, "images": 5, "search": SEARCH}, (100 + 60) * 5),
        ({"steps": 100, "sampler": "pairs", "pairs": 7, "accumulation": 2, "search": SEARCH}, 160 * 2 * 14),
    ],
)
def test_images_of_a_training(training: dict[str, Any], images: int) -> None:
    assert trained_images(Training(**training)) == images


def test_speed_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of 2048 x 384 by 384 x 1536 within half a second: two, which were over after 0.8."""
    clock = iter([10.0, 10.0, 10.4, 10.5, 10.8])
    monkeypatch.setattr(cost, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert machine_speed() == pytest.approx(2 * 2 * 2048 * 384 * 1536 / 0.8)


def test_operations_of_a_small_transformer() -> None:
    """17 tokens of 32 in 3 blocks with an MLP of 128, and 16 patches of 3 x 8 x 8 pixels; two operations a product."""
    patches = 16 * 192 * 32
    block = 17 * (
        4 * 32 * 32 + 2 * 32 * 128
    )  # q, k, v, out; the MLP. Those of the fused attention come on top.
    found = {}
    for strategy in ("frozen", "last_k", "full"):
        section = {"name": strategy, **({"k": 1} if strategy == "last_k" else {})}
        found[strategy] = estimate(Model(Small, Small.Config(), None, section))
    forward = found["frozen"].forward_flops
    assert 2 * (patches + 3 * block) <= forward < 1.2 * 2 * (patches + 3 * block)
    assert (found["frozen"].trainable, found["frozen"].train_flops) == (0, 0)
    total = found["full"].total
    assert {one.total for one in found.values()} == {total}
    assert found["last_k"].trainable == 12 * 32 * 32 + 15 * 32 + 2 * 32
    # Forward, and backward twice that: of one block, of all.
    assert 3 * 2 * block * 0.8 < found["last_k"].train_flops < 3 * 2 * block * 1.3
    assert found["full"].train_flops > 2.5 * found["last_k"].train_flops

"""Peak memory from shapes: what lives at once is counted, and options that save memory are seen to."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from peftcorr.backbones import BACKBONES
from peftcorr.engine.evaluate import first_batch
from peftcorr.engine.memory import HOLES, Memory, _peak, estimate_memory, resident
from peftcorr.engine.plan import Model
from peftcorr.recipe import Recipe
from tests.small_models import Small

MEBI = 1 << 20


def of(strategy: str = "lora", size: int = 32, **recipe: Any) -> Memory:
    made = Recipe(
        strategy=strategy,  # type: ignore[arg-type]
        backbone={"name": "small", "image_size": size},
        dataset="synthetic",  # type: ignore[arg-type]
        **recipe,
    )
    cls = BACKBONES.get("small")
    return estimate_memory(Model(cls, cls.Config(image_size=size), None, made.strategy), made)


def test_what_lives_at_once_counts() -> None:
    def work() -> None:
        one = torch.empty(MEBI, dtype=torch.uint8, device="meta")
        two = one.view(1024, 1024) + 1  # a view is no memory
        del one
        three = two.float()  # four bytes each
        del two
        three.add_(1)

    assert _peak(work) == 5 * HOLES * MEBI


def test_the_backward_pass_keeps_what_it_needs() -> None:
    def work() -> None:
        x = torch.empty(MEBI, device="meta", requires_grad=True)
        torch.autograd.backward(x.exp().sin().sum())

    assert 16 * HOLES * MEBI <= _peak(work) <= 37 * MEBI  # x, exp, sin; then gradients of each


def test_more_is_done_at_once_more_is_needed() -> None:
    plain = of()
    parameters = sum(p.numel() for p in Small.build(Small.Config(), None).parameters())
    assert plain.weights == pytest.approx(4 * parameters, rel=0.1)
    assert of("frozen").training == 0
    assert of(size=64).scoring > plain.scoring < of(encode_batch=64).scoring
    assert of(training={"images": 10}).training > plain.training > of("last_k").training
    assert plain.peak == max(2 * plain.weights, plain.training, plain.scoring)


def test_weights_in_bfloat16_need_half() -> None:
    made = Recipe(
        strategy="lora",  # type: ignore[arg-type]
        backbone={"name": "dinov2_vits14", "dtype": "bf16"},
        dataset="synthetic",  # type: ignore[arg-type]
    )
    plain = made.model_copy(update={"backbone": {"name": "dinov2_vits14"}})
    half, whole = (estimate_memory(Model.of(recipe, lambda *_: None), recipe) for recipe in (made, plain))
    assert half.weights < 0.6 * whole.weights
    # What is turned back for a product goes again: the rest of a step takes no more than a layer besides.
    assert half.training < whole.training - 0.3 * whole.weights


def test_checkpointed_blocks_need_less() -> None:
    many = {"images": 16}
    plain, checkpointed = (of(training={**many, "gradient_checkpointing": flag}) for flag in (False, True))
    assert checkpointed.training - checkpointed.weights < 0.7 * (plain.training - plain.weights)


def test_attention_is_counted_as_devices_compute_it() -> None:
    """Without the matrix of all tokens with all tokens, which grows with the fourth power of the side."""
    small, large = of("frozen", 128, encode_batch=1), of("frozen", 256, encode_batch=1)
    assert large.scoring - large.weights < 5 * (small.scoring - small.weights)


def test_a_large_block_is_the_systems_own() -> None:
    assert _peak(lambda: torch.empty(64 * MEBI, dtype=torch.uint8, device="meta")) == 64 * MEBI  # type: ignore[arg-type, return-value]


def test_the_libraries_count_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resident() > 100 * MEBI
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resident() == 0


@pytest.mark.parametrize(("weights", "training", "scoring", "peak"), [
    (70, 100, 90, 140), (70, 0, 90, 140), (30, 100, 90, 100), (30, 0, 90, 90),
])  # fmt: skip
def test_the_peak_is_the_largest_of_two_backbones_a_step_and_a_batch(
    weights: int, training: int, scoring: int, peak: int
) -> None:
    assert Memory(weights, training, scoring).peak == peak


@pytest.mark.parametrize(("gpu", "images"), [(False, 16), (True, 64)])
def test_auto_begins_with_as_many_images_as_the_evaluator(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, images: int
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    assert first_batch("cuda" if gpu else "cpu") == images
    assert of("frozen", encode_batch="auto").scoring == of("frozen", encode_batch=images).scoring

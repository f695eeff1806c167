"""Every option of a training acts as its formula says; none is read and then forgotten."""

from __future__ import annotations

import colorsys
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from peftcorr.engine import train as training
from peftcorr.engine.optimisation import Optimisation, Stepped, _share_of_rate, colour_jitter
from peftcorr.features.encode import Encoder
from peftcorr.features.prefix import PrefixStore
from tests.engine.building import Job
from tests.engine.killing import Killed, kill_at


class Watched:
    """What every step of the optimiser is given.

    Attributes:
        rates, decays: learning rate and weight decay at each step.
        gradients: norm of all of them together.
        direction: the first step's gradients.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.rates: list[float] = []
        self.decays: list[float] = []
        self.gradients: list[float] = []
        self.direction: Tensor | None = None
        step = torch.optim.AdamW.step

        def watching(optimizer: torch.optim.AdamW, *arguments: Any) -> Any:
            [group] = optimizer.param_groups
            self.rates.append(group["lr"])
            self.decays.append(group["weight_decay"])
            every = torch.cat([p.grad.flatten() for p in group["params"] if p.grad is not None])
            self.gradients.append(float(every.norm()))
            self.direction = every / every.norm() if self.direction is None else self.direction
            return step(optimizer, *arguments)

        monkeypatch.setattr(torch.optim.AdamW, "step", watching)


@pytest.mark.parametrize(("warmup", "rising"), [(0.0, 0), (0.25, 2), (0.3, 3)])
def test_the_rate_rises_over_the_warm_up_and_falls_along_half_a_cosine(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    warmup: float, rising: int,
) -> None:  # fmt: skip
    """Of 8 steps a share of 0.3 is 2.4, and a part of a step is a step. The last of all would have the rate 0."""
    watched = Watched(monkeypatch)
    rate = 2e-3
    Job(
        small_weights, photographs, tmp_path, steps=8, warmup=warmup, learning_rate=rate, validate=False
    ).run()
    expected = [
        rate * step / rising if step < rising
        else rate * (1 + math.cos(math.pi * (step - rising) / (8 - rising))) / 2
        for step in range(8)
    ]  # fmt: skip
    assert watched.rates == pytest.approx(expected)


def test_accumulated_batches_are_one_step_of_the_schedule(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And every batch is another: step * accumulation + part, so that none is drawn twice."""
    watched = Watched(monkeypatch)
    job = Job(small_weights, photographs, tmp_path, steps=3, accumulation=2, warmup=0, validate=False)
    drawn: list[int] = []
    batch = job.trainer.sampler.batch
    monkeypatch.setattr(job.trainer.sampler, "batch", lambda number: drawn.append(number) or batch(number))
    job.run()
    assert drawn == [0, 1, 2, 3, 4, 5]
    assert watched.rates == pytest.approx([3e-3, 3e-3 * 0.75, 3e-3 * 0.25])


def test_weight_decay_shrinks_what_is_trained(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AdamW's is apart from the gradient: one step with it ends lower by rate * decay * value, and by nothing else."""
    watched = Watched(monkeypatch)
    ends = []
    for decay in (0.0, 0.5):
        job = Job(
            small_weights, photographs, tmp_path / str(decay), "last_k", steps=1, warmup=0, learning_rate=1e-2,
            weight_decay=decay, validate=False,
        )  # fmt: skip
        start = job.tensors()
        job.run()
        ends.append(job.tensors())
    assert watched.decays == [0.0, 0.5]
    for name, plain in ends[0].items():
        torch.testing.assert_close(plain - ends[1][name], 1e-2 * 0.5 * start[name], rtol=1e-3, atol=1e-7)


def test_long_gradients_are_made_as_long_as_the_clip_and_short_ones_left(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms, directions = [], []
    for clip in (1e9, 1e-3):
        with monkeypatch.context() as patch:
            watched = Watched(patch)
            Job(
                small_weights, photographs, tmp_path / str(clip), steps=1, gradient_clip=clip, validate=False
            ).run()
        norms += watched.gradients
        directions.append(watched.direction)
    assert norms[0] > 1e-2
    assert norms[1] == pytest.approx(1e-3, rel=1e-3)
    torch.testing.assert_close(*directions)


def hues(image: Tensor) -> float:
    return colorsys.rgb_to_hsv(*(float(value) / 255 for value in image[:, 0, 0]))[0]


def test_jitter_moves_brightness_by_its_share_and_hue_by_a_quarter_of_it() -> None:
    assert colour_jitter(0.0) is None
    jitter = colour_jitter(0.4)
    assert jitter is not None
    torch.manual_seed(0)
    red = torch.tensor([200, 20, 20], dtype=torch.uint8).view(3, 1, 1).expand(3, 4, 4)
    turned = [hues(jitter(red)) for _ in range(200)]
    far = max(min(hue, 1 - hue) for hue in turned)  # round the circle
    assert 0.08 < far <= 0.1 + 0.01  # a quarter of 0.4; whole levels move it a little
    grey = torch.full((3, 4, 4), 100, dtype=torch.uint8)  # which contrast, saturation and hue leave
    levels = [float(jitter(grey).float().mean()) for _ in range(200)]
    assert (min(levels), max(levels)) == pytest.approx((60, 140), abs=4)
    striped = torch.tensor([50, 150], dtype=torch.uint8).view(1, 1, 2).expand(3, 4, 2)
    spread = [
        float((out := jitter(striped).float()).max() - out.min()) / float(out.mean()) for _ in range(200)
    ]
    assert (min(spread), max(spread)) == pytest.approx((0.6, 1.4), abs=0.08)


def test_jitter_draws_anew_for_every_image_and_step(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[tuple[int, int], bytes] = {}
    job = Job(small_weights, photographs, tmp_path, steps=4, colour_jitter=0.5, validate=False)
    images, step = Encoder.images, Optimisation.step
    steps: list[int] = []

    def stepping(self: Optimisation, number: int) -> Stepped:
        steps.append(number)
        return step(self, number)

    def keeping(self: Encoder, data: Any, store: Any, numbers: Any, *more: Any) -> Tensor:
        found = images(self, data, store, numbers, *more)
        seen.update({(steps[-1], int(n)): i.numpy().tobytes() for n, i in zip(numbers, found, strict=True)})
        return found

    monkeypatch.setattr(Encoder, "images", keeping)
    monkeypatch.setattr(Optimisation, "step", stepping)
    job.run()
    assert len(seen) == 4 * 3
    assert len(set(seen.values())) == len(seen)


def test_a_validation_leaves_the_training_mode_on(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout must act at every step, after a validation too, and in none of the validations."""
    job = Job(small_weights, photographs, tmp_path, "adaptformer", steps=4, validate_every=1)
    modes: list[tuple[str, bool]] = []
    features = Encoder.features

    def keeping(self: Encoder, *arguments: Any) -> Tensor:
        kind = "step" if torch.is_grad_enabled() else "validation"
        modes.append((kind, job.backbone.training))
        return features(self, *arguments)

    monkeypatch.setattr(Encoder, "features", keeping)
    job.run()
    assert [kind for kind, _ in modes].count("step") == 4
    assert set(modes) == {("step", True), ("validation", False)}


def test_a_strategy_is_told_each_step_once_counted_from_one(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(small_weights, photographs, tmp_path, "lora+norm", steps=3, accumulation=2, validate=False)
    told: dict[str, list[tuple[int, int]]] = {"lora": [], "norm": []}
    for name, part in job.strategy.parts.items():  # type: ignore[attr-defined]
        monkeypatch.setattr(
            part, "after_step", lambda _, step, steps, to=told[name]: to.append((step, steps))
        )
    job.run()
    assert told == {"lora": [(1, 3), (2, 3), (3, 3)], "norm": [(1, 3), (2, 3), (3, 3)]}


class Clock:
    """One more second every time that it is asked."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        self.now += 1
        return self.now


def test_seconds_go_on_where_a_stopped_training_was(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was trained since the last state is done twice and counted once; the time before counts."""
    clock = Clock()
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=clock.monotonic))
    every: dict[str, Any] = {"steps": 8, "checkpoint_every": 2, "validate_every": 4}
    job = Job(small_weights, photographs, tmp_path, **every)
    kill_at(job, 8)
    with pytest.raises(Killed):
        job.run()
    clock.now = 1e6  # the machine was off for a while
    again = Job(small_weights, photographs, tmp_path, **every).run()
    seconds = [point.seconds for point in again.validation]
    assert [point.step for point in again.validation] == [4, 8]
    assert 4 <= seconds[0] <= 8, "an asking or two a step, from the beginning"
    assert seconds[0] + 2 < seconds[1] < 25
    assert seconds[1] <= again.seconds < 25


def test_kept_prefixes_are_computed_in_the_precision_of_the_training(
    photographs: Path, small_weights: Path, tmp_path: Path
) -> None:
    """Whole and in two halves alike: the blocks before the first trainable one run in bfloat16, too."""
    prefixes = PrefixStore()
    job = Job(
        small_weights, photographs, tmp_path, "last_k", prefixes=prefixes, precision="bf16", steps=1,
        validate=False,
    )  # fmt: skip
    types: set[torch.dtype] = set()
    job.backbone.blocks()[0].mlp.fc1.register_forward_hook(lambda m, i, output: types.add(output.dtype))
    job.run()
    assert len(prefixes) > 0
    assert types == {torch.bfloat16}
    numbers = np.arange(2)
    encoder, trn = job.encoder, job.trn
    with torch.no_grad(), encoder.autocast():
        whole = encoder.features(trn.data, trn.store, numbers)
        halves = encoder.features(trn.data, trn.store, numbers, PrefixStore())
    torch.testing.assert_close(whole, halves)


@pytest.mark.parametrize(("warmup", "steps"), [(0, 7), (3, 10), (5, 5)])
def test_the_schedule_is_the_one_of_transformers(warmup: int, steps: int) -> None:
    from transformers import get_cosine_schedule_with_warmup

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    wanted = get_cosine_schedule_with_warmup(optimizer, warmup, steps)
    for step in range(steps + 1):
        assert wanted.get_last_lr() == [0.3 * _share_of_rate(warmup, steps, step)]
        optimizer.step()
        wanted.step()

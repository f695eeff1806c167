"""Training: supervised pairs a second on cliques of images, against the loop over pairs."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peftcorr.backbones import Backbone
from peftcorr.data.correspondences import correspondences
from peftcorr.data.images import ImageStore
from peftcorr.engine.batches import CliqueSampler
from peftcorr.engine.evaluate import Evaluator, Split
from peftcorr.engine.task import Task
from peftcorr.engine.train import Trainer
from peftcorr.features.encode import Encoder
from peftcorr.features.prefix import PrefixStore
from peftcorr.matching.loss import LossConfig
from peftcorr.recipe import Training
from peftcorr.results.environment import PeakMemory
from peftcorr.strategies import STRATEGIES, Strategy
from peftcorr.strategies.base import apply_checked
from timing.naive import Prepared, naive_training
from timing.settings import (
    QUICK_PAIRS,
    SILENT,
    WEIGHTS,
    Settings,
    accelerator,
    available,
    dataset,
    dinov2,
    predictors,
    shared,
)

SIZE = 224
IMAGES = 8  # of a clique
FIRST_LOSSES = 20
_PUBLISHED = 8  # pairs a step of the pairwise loop, besides one
_RATE = 1e-4
_LOSS = LossConfig()


@dataclass(frozen=True)
class Case:
    """A strategy, and how many times the naive loop's pairs a second it must reach."""

    name: str
    strategy: str
    options: dict[str, Any]
    times_naive: float
    steps: int


CASES = (
    Case("train-lora", "lora", {}, 8, 12),
    Case("train-last-1", "last_k", {"k": 1}, 25, 60),
)


@dataclass
class Result:
    """Supervised pairs a second, one figure a repetition.

    Attributes:
        naive_one, naive_batch: of the naive loop with one pair a step, and with several.
        ours: of cliques, the frozen prefix of each image kept already where the strategy has one.
        fill_seconds: what keeping the prefix of every image of the split takes, once.
        loss_difference: largest difference of the first 20 losses with kept prefixes and without.
    """

    name: str
    images: int
    pairs_a_step: float = 0.0
    trainable: int = 0
    first_trainable_block: int = 0
    fill_seconds: float = 0.0
    loss_difference: float = 0.0
    peak_bytes: int = 0
    times_naive_asked: float = 0.0
    naive_one: list[float] = field(default_factory=list)
    naive_batch: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """For the machine-readable file; each repetition's ratio is to its faster naive loop."""
        faster = [max(pair) for pair in zip(self.naive_one, self.naive_batch, strict=True)]
        return {
            **vars(self),
            "naive_pairs_per_second": statistics.median(faster),
            "ours_pairs_per_second": statistics.median(self.ours),
            "times_naive": statistics.median(a / b for a, b in zip(self.ours, faster, strict=True)),
        }


def measure(case: Case, settings: Settings) -> Result | None:
    """Measure one strategy; None if the data are not there."""
    if not available("data/animal-pairs", WEIGHTS):
        return None
    opened = dataset("pairs", shared() / "data/animal-pairs", "trn", settings.work / "cache")
    if settings.quick:
        opened = opened.limited(QUICK_PAIRS)
    data = correspondences(opened)
    split = Split(opened, data, ImageStore(opened.image_root, SIZE))
    steps = 2 if settings.quick else case.steps
    backbone, strategy = _adapted(case)
    first = strategy.first_trainable_block(backbone)
    prefixes = PrefixStore() if first > 0 else None
    kept = Split(opened, data, split.store, prefixes)
    result = Result(case.name, IMAGES, times_naive_asked=case.times_naive, first_trainable_block=first)
    result.trainable = backbone.trainable_parameters()
    data.decode(split.store)
    if prefixes is not None:
        result.fill_seconds = _fill(kept, backbone, first, steps)
        result.loss_difference = _loss_difference(case, kept, settings)
    some = torch.randperm(len(data.source), generator=torch.Generator().manual_seed(0)).tolist()
    prepared = Prepared(split, backbone, some[: 2 if settings.quick else 2 * _PUBLISHED])
    sampler = CliqueSampler(data, IMAGES, 0)
    supervised = sum(sampler.batch(step).pairs() for step in range(steps))
    result.pairs_a_step = supervised / steps
    for repetition in range(-1, settings.repetitions):  # the first one warms up
        one, several = (_naive(case, prepared, count) for count in (1, _PUBLISHED))
        folder = settings.work / f"{case.name}-{repetition}"
        with PeakMemory() as peak:
            elapsed = _clique_seconds(case, kept, steps, folder)
        if repetition >= 0:
            result.naive_one.append(one)
            result.naive_batch.append(several)
            result.ours.append(supervised / elapsed)
            result.peak_bytes = max(result.peak_bytes, peak.read())
    return result


def _adapted(case: Case) -> tuple[Backbone, Strategy]:
    torch.manual_seed(0)
    backbone = dinov2(SIZE)
    cls = STRATEGIES.get(case.strategy)
    strategy: Strategy = cls(cls.Config(**case.options))
    apply_checked(strategy, backbone)
    return backbone, strategy


def _naive(case: Case, prepared: Prepared, pairs_a_step: int) -> float:
    """Pairs a second of the loop over pairs."""
    backbone, _ = _adapted(case)
    parameters = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=_RATE)
    return len(prepared.pairs) / naive_training(prepared, backbone, optimizer, pairs_a_step, _LOSS)


def _clique_seconds(case: Case, split: Split, steps: int, folder: Path) -> float:
    """Seconds that `Trainer` takes for some steps, its resumable state and schedule included."""
    return _trainer(case, split, steps, folder).run().seconds


def _loss_difference(case: Case, kept: Split, settings: Settings) -> float:
    """Largest difference of the first losses with kept prefixes and without, in full precision."""
    steps = 2 if settings.quick else FIRST_LOSSES
    losses: list[list[float]] = []
    for number, prefixes in enumerate((kept.prefixes, None)):
        split = replace(kept, prefixes=prefixes)
        trainer = _trainer(case, split, steps, settings.work / f"{case.name}-losses-{number}")
        trainer.run()
        losses.append(trainer.losses)
    return max(abs(a - b) for a, b in zip(losses[0], losses[1], strict=True))


def _trainer(case: Case, split: Split, steps: int, folder: Path) -> Trainer:
    backbone, strategy = _adapted(case)
    process = accelerator()
    first = strategy.first_trainable_block(backbone)
    recipe = Training(steps=steps, images=IMAGES, learning_rate=_RATE, loss=_LOSS, validate_every=10**6)
    encoder = Encoder(backbone, None, process.device, process.autocast, first)
    task = Task(recipe, 0, split, None, predictors()[0])
    return Trainer(task, strategy, Evaluator(encoder, process, 16, SILENT), folder)


def _fill(split: Split, backbone: Backbone, first: int, steps: int) -> float:
    """Keep the prefix of every image that the steps use; returns the seconds for the whole split, by scaling."""
    sampler = CliqueSampler(split.data, IMAGES, 0)
    encoder = Encoder(backbone, None, None, first_trainable=first)
    used: list[int] = sorted({int(n) for step in range(steps) for n in sampler.batch(step).images})
    begun = time.perf_counter()
    with torch.no_grad():
        for start in range(0, len(used), IMAGES):
            encoder.features(split.data, split.store, np.array(used[start : start + IMAGES]), split.prefixes)
    return (time.perf_counter() - begun) * len(split.data.images) / len(used)

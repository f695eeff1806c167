"""One training that takes about a given time, validated on the way; for ``benchmarks/sampling.py``."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from peftcorr.data.correspondences import correspondences
from peftcorr.data.images import ImageStore
from peftcorr.engine.evaluate import Evaluator, Split
from peftcorr.engine.task import Task
from peftcorr.engine.train import Trainer, validation_pck
from peftcorr.features.encode import Encoder
from peftcorr.features.prefix import PrefixStore
from peftcorr.matching.loss import LossConfig
from peftcorr.recipe import Training
from peftcorr.strategies import STRATEGIES, Strategy
from peftcorr.strategies.base import apply_checked
from timing.settings import BATCH, SILENT, dataset, dinov2, predictors, seconds, shared

SIZE = 224
POINTS = 6  # validations on the way
TRIAL = 4  # steps that tell how long one takes
PAIRS = 8  # in a step of the loop over pairs
IMAGES = 8  # in a clique

LOSS = LossConfig(
    distance=0.02, beta=20, cross_entropy=1.0, gaussian_beta=20, sigma=0.7
)  # recipes/animal-pairs

# Learning rates that the committed animal-pairs runs of these strategies chose on val.
CASES: dict[str, dict[str, Any]] = {
    "lora": {"options": {}, "rate": 1e-3},
    "last_k": {"options": {"k": 1}, "rate": 3e-4},
}


def train(strategy: str, loop: str, limit: float, work: Path) -> dict[str, Any]:
    """Train with one sampler for about `limit` seconds, on the cores in $PEFTCORR_CORES.

    Returns:
        steps, pairs supervised, and the validation PCK along the way, its first point before any training.
    """
    cores = [int(core) for core in os.environ.get("PEFTCORR_CORES", "").split(",") if core]
    if cores:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(len(cores))
    opened = {
        name: dataset("pairs", shared() / "data/animal-pairs", name, work / "cache")
        for name in ("trn", "val")
    }
    splits = {
        name: Split(pairs, correspondences(pairs), ImageStore(pairs.image_root, SIZE))
        for name, pairs in opened.items()
    }
    for split in splits.values():
        split.data.decode(split.store)
    trial = _Training(strategy, loop, splits, work / "trial")
    trial.run(TRIAL, TRIAL)
    step = trial.run(TRIAL, TRIAL).seconds / TRIAL  # the prefixes of these images are kept by now
    validation = seconds(trial.validate)
    filling = 0.0 if trial.prefixes is None else trial.fill_seconds()
    steps = max(POINTS, int((limit - filling - POINTS * validation) / step))
    job = _Training(strategy, loop, splits, work / "run")
    start = job.validate()
    done = job.run(steps, -(-steps // POINTS))
    points = [{"step": 0, "seconds": 0.0, "pck": start}]
    points += [{"step": p.step, "seconds": round(p.seconds, 2), "pck": p.pck} for p in done.validation]
    return {
        "sampler": loop,
        "learning_rate": CASES[strategy]["rate"],
        "prefixes_kept": job.prefixes is not None,
        "steps": steps,
        "pairs": sum(job.trainer.sampler.batch(n).pairs() for n in range(steps)),
        "seconds": round(done.seconds, 2),
        "validation": points,
    }


class _Training:
    """The published loop over pairs encodes both images of each pair anew; cliques keep frozen blocks' output."""

    def __init__(self, strategy: str, loop: str, splits: dict[str, Split], folder: Path):
        torch.manual_seed(0)
        self.loop, self.folder, self.rate = loop, folder, CASES[strategy]["rate"]
        folder.mkdir(parents=True)
        self.process = Accelerator(cpu=True, mixed_precision="bf16")
        self.backbone = dinov2(SIZE)
        cls = STRATEGIES.get(strategy)
        self.strategy: Strategy = cls(cls.Config(**CASES[strategy]["options"]))
        apply_checked(self.strategy, self.backbone)
        first = self.strategy.first_trainable_block(self.backbone)
        self.prefixes = PrefixStore() if loop == "cliques" and first > 0 else None
        self.encoder = Encoder(self.backbone, None, self.process.device, self.process.autocast, first)
        self.splits = {
            name: Split(split.dataset, split.data, split.store, self.prefixes)
            for name, split in splits.items()
        }

    def run(self, steps: int, every: int) -> Any:
        """Train for some steps."""
        recipe = Training(
            steps=steps,
            sampler="cliques" if self.loop == "cliques" else "pairs",
            images=IMAGES,
            pairs=PAIRS,
            learning_rate=self.rate,
            loss=LOSS,
            validate_every=every,
            checkpoint_every=10**9,
        )
        val = self.splits["val"] if every < steps else None
        task = Task(recipe, 0, self.splits["trn"], val, predictors()[0])
        evaluator = Evaluator(self.encoder, self.process, BATCH, SILENT)
        self.trainer = Trainer(task, self.strategy, evaluator, Path(tempfile.mkdtemp(dir=self.folder)))
        return self.trainer.run()

    def validate(self) -> float:
        """PCK@0.1 per keypoint on val."""
        val = self.splits["val"]
        points = Evaluator(self.encoder, self.process, BATCH, SILENT).predict(val, predictors()[:1]).points[0]
        return validation_pck(val.data, points)

    def fill_seconds(self) -> float:
        """How long keeping the prefixes of every training image takes, by what 16 of them take."""
        data = self.splits["trn"].data
        numbers = torch.arange(BATCH).numpy() * (len(data.images) // BATCH)

        def encode() -> None:
            with torch.no_grad():
                self.encoder.features(data, self.splits["trn"].store, numbers, PrefixStore())

        return seconds(encode) * len(data.images) / BATCH

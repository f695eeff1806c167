"""Splits and trainers of the small things, for the engine's tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from peftcorr.backbones.dinov2 import Dinov2
from peftcorr.console.progress import Progress
from peftcorr.data.correspondences import correspondences
from peftcorr.data.images import ImageStore, ResizeMode
from peftcorr.data.layouts.spair import SpairFolder
from peftcorr.engine.evaluate import Evaluator, Split
from peftcorr.engine.task import Task
from peftcorr.engine.trackers import Tracked, Trackers
from peftcorr.engine.train import Trained, Trainer
from peftcorr.features.encode import Encoder
from peftcorr.features.prefix import PrefixStore
from peftcorr.matching.predictors import Argmax
from peftcorr.recipe import Training
from peftcorr.strategies.base import Strategy
from tests.small_models import SIZE
from tests.strategies.adapting import adapt

SILENT = Progress(None)


def load_split(root: Path, cache: Path, split: str = "trn", mode: ResizeMode = "stretch") -> Split:
    """A split of a folder in SPair-71k's layout, ready to be trained on or scored."""
    dataset = SpairFolder(SpairFolder.Config(), root, cache).load(split)
    return Split(dataset, correspondences(dataset), ImageStore(dataset.image_root, SIZE, mode, workers=1))


class Job:
    """One training of a small backbone, started as a process would start it: from the seed.

    Attributes:
        backbone: holds the trained tensors after `run`.
        trainer: may be changed before `run`.
        said: by the trackers.
    """

    def __init__(
        self,
        weights: Path,
        photographs: Path,
        folder: Path,
        strategy: str = "lora",
        options: dict[str, Any] | None = None,
        prefixes: PrefixStore | None = None,
        precision: str = "no",
        validate: bool = True,
        track: Sequence[str] = (),
        **training: Any,
    ):
        recipe = Training(
            **{
                "steps": 6,
                "images": 3,
                "learning_rate": 3e-3,
                "loss": {"distance": 1, "cross_entropy": 0},
                **training,
            }
        )
        self.accelerator = Accelerator(cpu=True, mixed_precision=precision)
        self.backbone: Dinov2
        self.strategy: Strategy
        self.backbone, self.strategy = adapt(weights, strategy, seed=0, **(options or {}))
        first = self.strategy.first_trainable_block(self.backbone)
        self.trn, val = (load_split(photographs, folder / "cache", name) for name in ("trn", "val"))
        self.encoder = Encoder(self.backbone, None, None, self.accelerator.autocast, first)
        self.folder = folder / "state"
        task = Task(
            recipe,
            0,
            Split(self.trn.dataset, self.trn.data, self.trn.store, prefixes),
            Split(val.dataset, val.data, val.store, prefixes) if validate else None,
            Argmax(Argmax.Config()),
        )
        self.evaluator = Evaluator(self.encoder, self.accelerator, 16, SILENT)
        self.said: list[str] = []
        told = Tracked("a job", "f" * 16, {"training": recipe.model_dump()}, folder / "trackers", self.folder)
        trackers = Trackers(track, told, self.said.append) if track else None
        self.trainer = Trainer(task, self.strategy, self.evaluator, self.folder, trackers)

    def run(self) -> Trained:
        """Train."""
        torch.manual_seed(0)
        return self.trainer.run()

    def tensors(self) -> dict[str, Tensor]:
        """What the strategy owns now."""
        return {name: tensor.clone() for name, tensor in self.strategy.state_dict(self.backbone).items()}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """The same tensors, bit for bit."""
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []

"""Where the data are, what a repetition is, and how its times become one figure."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator

from peftcorr.backbones import BACKBONES, Backbone
from peftcorr.backbones.identity import local_weights
from peftcorr.console.progress import Progress
from peftcorr.data import DATASETS
from peftcorr.data.base import PairDataset
from peftcorr.matching.predictors import Argmax, Predictor, WindowSoftargmax

PROJECT = Path(__file__).resolve().parents[2]
SILENT = Progress(None)
BATCH = 16  # images encoded at once, a recipe's default
WEIGHTS = "weights/dinov2-small-saliency"  # below the shared folder
QUICK_PAIRS = 16
ALPHAS = (0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        repetitions: of everything that is compared, in turn.
        naive_pairs: evenly spaced pairs that the naive loop is timed on.
        quick: a few pairs of everything, to see that it works.
        work: temporary folder.
    """

    repetitions: int
    naive_pairs: int
    quick: bool
    work: Path


def shared() -> Path:
    """Folder of the real data sets and weights: $PEFTCORR_SHARED, or ``../shared`` beside the project."""
    return Path(os.environ.get("PEFTCORR_SHARED") or PROJECT.parent / "shared")


def available(*parts: str) -> bool:
    """Whether the shared folder has all of these."""
    return all((shared() / part).exists() for part in parts)


def dinov2(size: int) -> Backbone:
    """DINOv2 ViT-S/14 with the weights of the shared folder, frozen."""
    cls = BACKBONES.get("dinov2_vits14")
    backbone = cls.build(cls.Config(image_size=size), local_weights(shared() / WEIGHTS))
    backbone.eval()
    return backbone


def dataset(name: str, root: Path, split: str, cache: Path) -> PairDataset:
    """A split of a dataset, opened."""
    cls = DATASETS.get(name)
    return cls(cls.Config(), root, cache).load(split)


def predictors() -> list[Predictor]:
    """A recipe's default predictors."""
    return [Argmax(Argmax.Config()), WindowSoftargmax(WindowSoftargmax.Config())]


def accelerator() -> Accelerator:
    """One process on the CPU."""
    return Accelerator(cpu=True)


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Median of the repetitions' own ratios, in which a machine that slows down for a while cancels."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def evenly(count: int, total: int) -> list[int]:
    """`count` numbers below `total`, evenly spaced."""
    count = min(count, total)
    return [index * total // count for index in range(count)]

"""Evaluation: the naive loop, peftcorr from the opened dataset to the written record, and the encoder alone."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peftcorr.backbones import Backbone
from peftcorr.data.base import PairDataset
from peftcorr.data.correspondences import Correspondences, Floats, Ints, correspondences
from peftcorr.data.images import ImageStore
from peftcorr.engine.evaluate import Evaluator, Split
from peftcorr.engine.prediction_table import prediction_table
from peftcorr.engine.schedule import schedule
from peftcorr.features.encode import Encoder
from peftcorr.matching.predictors import label
from peftcorr.metrics.aggregate import aggregate, score_predictions
from peftcorr.predictions import write_predictions
from peftcorr.results.environment import PeakMemory, environment
from peftcorr.results.record import Cost, Record
from peftcorr.results.store import Store
from timing.naive import Prepared, naive_evaluation
from timing.settings import (
    ALPHAS,
    BATCH,
    QUICK_PAIRS,
    SILENT,
    WEIGHTS,
    Settings,
    accelerator,
    available,
    dataset,
    dinov2,
    evenly,
    predictors,
    ratio,
    shared,
)


@dataclass(frozen=True)
class Case:
    """A dataset and a size, and what is asked of them.

    Attributes:
        times_naive: ours must be at least this many times faster than the naive loop.
        times_limit: and take at most this many times what the encoder alone takes.
    """

    name: str
    source: str
    folder: str
    size: int
    times_naive: float
    times_limit: float


CASES = (
    Case("pf-willow", "pf_willow", "data/pf-willow", 448, 15, 1.15),
    Case("animal-pairs", "pairs", "data/animal-pairs", 224, 28, 1.25),
)


@dataclass
class Result:
    """What was measured; times are in seconds, one a repetition."""

    name: str
    size: int
    pairs: int
    images: int
    keypoints: int
    naive_pairs: int
    naive: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    limit: list[float] = field(default_factory=list)
    forwards: int = 0
    peak_bytes: int = 0
    score_difference: float = 0.0
    times_naive_asked: float = 0.0
    times_limit_asked: float = 0.0

    @property
    def naive_forwards(self) -> int:
        """Images that the naive loop encodes for all pairs."""
        return 2 * self.pairs

    def record(self) -> dict[str, Any]:
        """For the machine-readable file."""
        return {
            **vars(self),
            "naive_seconds": statistics.median(self.naive),
            "ours_seconds": statistics.median(self.ours),
            "limit_seconds": statistics.median(self.limit),
            "times_naive": ratio(self.naive, self.ours),
            "times_limit": ratio(self.ours, self.limit),
            "bound": self.naive_forwards / self.images,
        }


def measure(case: Case, settings: Settings) -> Result | None:
    """Measure one case; None if its data are not there."""
    if not available(case.folder, WEIGHTS):
        return None
    opened = dataset(case.source, shared() / case.folder, "test", settings.work / "cache")
    if settings.quick:
        opened = opened.limited(QUICK_PAIRS)
    backbone = dinov2(case.size)
    return compare(case, opened, backbone, settings)


def compare(case: Case, opened: PairDataset, backbone: Backbone, settings: Settings) -> Result:
    """Time the three in turn, as often as the settings say."""
    data = correspondences(opened)
    pairs = evenly(settings.naive_pairs, len(data.source))
    result = Result(case.name, case.size, len(data.source), len(data.images), len(data), len(pairs))
    result.times_naive_asked, result.times_limit_asked = case.times_naive, case.times_limit
    store = ImageStore(opened.image_root, case.size)
    prepared = Prepared(Split(opened, data, store), backbone, pairs)
    naive_evaluation(
        Prepared(Split(opened, data, store), backbone, pairs[:2]), backbone, predictors()
    )  # warm up
    for _ in range(settings.repetitions):
        elapsed, expected = naive_evaluation(prepared, backbone, predictors())
        result.naive.append(elapsed * len(data.source) / len(pairs))
        with PeakMemory() as peak:
            elapsed, found, result.forwards = ours(opened, backbone, case.size, settings.work)
        result.ours.append(elapsed)
        result.peak_bytes = max(result.peak_bytes, peak.read())
        result.limit.append(encoder_alone(data, store, backbone))
        rows = np.concatenate([prepared.rows(pair) for pair in pairs])
        result.score_difference = max(result.score_difference, difference(data, rows, expected, found))
    return result


def ours(opened: PairDataset, backbone: Backbone, size: int, work: Path) -> tuple[float, Floats, int]:
    """Evaluate as a run does: from the opened dataset, no image decoded, to Parquet and record on the disk.

    Returns:
        seconds, predictions, and how many images were encoded.
    """
    process = accelerator()
    with tempfile.TemporaryDirectory(dir=work) as folder:
        output = Store(Path(folder))
        begun = time.perf_counter()
        split = Split(opened, correspondences(opened), ImageStore(opened.image_root, size))
        encoder = Encoder(backbone, None, process.device)
        predicted = Evaluator(encoder, process, BATCH, SILENT).predict(split, predictors())
        names = [label(name, p.config) for name, p in zip(("argmax", "window"), predictors(), strict=True)]
        table = prediction_table(split, predicted, names)
        scores = score_predictions(table, ALPHAS)
        write_predictions(table, output.predictions_path("speed"))
        cost = Cost(train_seconds=0, eval_seconds=0, peak_memory_bytes=0, encoder_forwards=0, steps=0)
        record = Record(
            run_id="speed", status="ok", recipe={}, strategy="frozen", backbone=type(backbone).__name__,
            weights_id="speed", weights_sha256=None, official_weights=False, dataset=opened.name, seed=0,
            scores=scores, cost=cost, environment=environment(1, "no", output.root),
        )  # fmt: skip
        output.write(record)
        return time.perf_counter() - begun, predicted.points, encoder.forwards


def encoder_alone(data: Correspondences, store: ImageStore, backbone: Backbone) -> float:
    """Seconds inside the encoder for every image once, in the batches that evaluation makes."""
    elapsed = 0.0
    with torch.inference_mode():
        for window in schedule(data, BATCH).windows:
            raw = store.get([data.images[n] for n in window], [data.sizes[n] for n in window])
            images = backbone.preprocess(raw)
            begun = time.perf_counter()
            backbone.features(images)
            elapsed += time.perf_counter() - begun
    return elapsed


def difference(data: Correspondences, rows: Ints, expected: Floats, found: Floats) -> float:
    """Largest difference of any PCK, in percent, between two sets of predictions of the correspondences `rows`."""
    pair = data.pair[rows]
    truth, length = data.target_points[rows], data.reference_length[pair]
    category = np.array(data.categories)[data.target[pair]]
    largest = 0.0
    for index in range(len(expected)):
        a, b = (
            aggregate(points[index, rows], truth, length, pair, category, ALPHAS)
            for points in (expected, found)
        )
        for name in ("per_keypoint", "per_image"):
            one, other = getattr(a, name), getattr(b, name)
            largest = max(largest, *(abs(one[alpha] - other[alpha]) for alpha in one))
    return largest

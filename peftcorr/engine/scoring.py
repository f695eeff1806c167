"""The second half of a run: from a backbone to predictions and scores, on the test split of every dataset asked for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from accelerate import Accelerator

from peftcorr.backbones import Backbone
from peftcorr.config import Section
from peftcorr.data.leakage import Leakage, warnings
from peftcorr.engine.evaluate import predict
from peftcorr.engine.leakage import leakage
from peftcorr.engine.prediction_table import prediction_table
from peftcorr.engine.workbench import Workbench
from peftcorr.features.cache import FeatureCache
from peftcorr.features.encode import Encoder, autocast
from peftcorr.matching.predictors import label
from peftcorr.metrics.aggregate import score_predictions
from peftcorr.metrics.bootstrap import add_intervals
from peftcorr.metrics.presets import preset_named
from peftcorr.metrics.scores import Scores, TrackingScores
from peftcorr.metrics.tapvid import choose_on, score_tracking
from peftcorr.recipe import Recipe


@dataclass
class Scored:
    """What a run's tests gave.

    Attributes:
        tables: predictions, one table a dataset, with the columns of `PREDICTION_SCHEMA`.
        scores, tracking: by "<dataset>/<split>" and predictor.
        leakage: by "<dataset>/<split>"; empty where nothing was trained.
        forwards: images that this process encoded.
        seconds: what predicting and scoring took, the intervals apart.
    """

    tables: list[pa.Table] = field(default_factory=list)
    scores: dict[str, dict[str, Scores]] = field(default_factory=dict)
    tracking: dict[str, dict[str, TrackingScores]] = field(default_factory=dict)
    leakage: dict[str, Leakage] = field(default_factory=dict)
    forwards: int = 0
    seconds: float = 0.0


def score(
    recipe: Recipe,
    bench: Workbench,
    backbone: Backbone,
    trained: bool,
    weights_id: str,
    accelerator: Accelerator,
) -> Scored:
    """Predict and score every test split of a recipe.

    Args:
        recipe: finalised.
        backbone: as it was trained.
        trained: whether it was; only then can test images have been trained on.
        weights_id: what a frozen backbone's features are kept under.

    Raises:
        PeftCorrError: if a split cannot be read or scored.
    """
    begun = time.monotonic()
    _, config = recipe.backbone_class()
    # Not the training's precision: rows are to differ by what was trained alone.
    encoder = Encoder(
        backbone, None, accelerator.device, autocast(recipe.score_precision, accelerator.device)
    )
    # What was trained is scored once; a frozen backbone's features serve every later run with other predictors.
    frozen = not recipe.make_strategy().trains()
    cache = FeatureCache(bench.cache, weights_id) if bench.keep_features and frozen else None
    names = [
        label(s["name"], p.config) for s, p in zip(recipe.predictors, recipe.make_predictors(), strict=True)
    ]
    preset = preset_named(recipe.preset)
    found = Scored()

    def predictions(section: Section, split: str, limit: int | None) -> pa.Table:
        opened = bench.split(section, split, config.image_size, config.resize, limit)
        peaks = np.zeros(len(opened.data), dtype=np.float32)
        predicted = predict(
            opened,
            encoder,
            recipe.make_predictors(),
            accelerator,
            recipe.encode_batch,
            bench.progress,
            bench.memory,
            cache,
            peaks,
        )
        return prediction_table(opened, predicted, names, peaks)

    for section in (recipe.dataset, *recipe.eval_on):
        threshold = section.get("occlusion_threshold")  # of the datasets whose points are tracked
        chosen = choose_on(predictions(section, "val", None)) if threshold == "val" else threshold
        table = predictions(section, "test", recipe.limit_pairs)
        found.tables.append(table)
        found.scores |= score_predictions(table, recipe.alphas, preset)
        if chosen is not None:
            found.tracking |= score_tracking(table, chosen, "val" if threshold == "val" else "fixed")
    found.seconds, found.forwards = time.monotonic() - begun, encoder.forwards
    for table in found.tables:
        add_intervals(found.scores, table, recipe.alphas, preset)
    if trained:
        found.leakage = _leakage(recipe, bench, accelerator)
    return found


def _leakage(recipe: Recipe, bench: Workbench, accelerator: Accelerator) -> dict[str, Leakage]:
    """Compare the images trained on with those of every test split, and say what was found."""
    _, config = recipe.backbone_class()
    place = (config.image_size, config.resize)
    trn = bench.split(recipe.dataset, "trn", *place, None)
    found = {}
    for section in (recipe.dataset, *recipe.eval_on):
        test = bench.split(section, "test", *place, recipe.limit_pairs)
        found[f"{test.dataset.name}/{test.dataset.split}"] = leakage(trn, test, accelerator)
    for line in warnings(found):
        bench.progress.say(line)
    return found

"""The second half of a run: from a backbone to predictions and scores, on the test split of every dataset asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import torch
from accelerate import Accelerator
from pydantic import ValidationError

from peftcorr.backbones import Backbone
from peftcorr.data.base import DatasetSource
from peftcorr.data.frame import Framing
from peftcorr.data.guard import selecting
from peftcorr.data.identity import annotation_digest
from peftcorr.data.leakage import Leakage, warnings
from peftcorr.data.without import keypoint_names
from peftcorr.engine.evaluate import Evaluator, Split, evaluator
from peftcorr.engine.flip import predict_with_flip
from peftcorr.engine.leakage import leakage
from peftcorr.engine.plan import Plan
from peftcorr.engine.prediction_table import prediction_table
from peftcorr.engine.sharing import shared_prefixes
from peftcorr.engine.space import scored_from
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError
from peftcorr.features.cache import FeatureCache, IfRoom
from peftcorr.features.encode import Encoder, autocast
from peftcorr.features.kept import MapCache
from peftcorr.machine.agreement import everyones
from peftcorr.matching.conventions import convention_named
from peftcorr.matching.predictors import Predictor
from peftcorr.metrics.aggregate import score_predictions
from peftcorr.metrics.further import add_further
from peftcorr.metrics.generalisation import generalisation
from peftcorr.metrics.presets import Preset
from peftcorr.metrics.scores import Generalisation, Scores, TrackingScores
from peftcorr.metrics.tapvid import choose_on, score_tracking
from peftcorr.recipe import Recipe
from peftcorr.results.record import Stage


@dataclass
class Scored:
    """What a run's tests gave.

    Attributes:
        tables: predictions, one table a dataset, with the columns of `PREDICTION_SCHEMA`.
        scores, tracking: by "<dataset>/<split>" and predictor.
        generalisation: by "<dataset>/<split>"; of datasets that hold something out.
        leakage: by "<dataset>/<split>"; empty where nothing was trained.
        forwards: images that this process encoded.
        seconds: what predicting and scoring took, the intervals apart.
    """

    tables: list[pa.Table] = field(default_factory=list)
    scores: dict[str, dict[str, Scores]] = field(default_factory=dict)
    tracking: dict[str, dict[str, TrackingScores]] = field(default_factory=dict)
    generalisation: dict[str, Generalisation] = field(default_factory=dict)
    leakage: dict[str, Leakage] = field(default_factory=dict)
    forwards: int = 0
    seconds: float = 0.0


def scorer(
    recipe: Recipe,
    backbone: Backbone,
    bench: Workbench,
    accelerator: Accelerator,
    cache: MapCache | None = None,
    first_trainable: int = 0,
) -> Evaluator:
    """What a recipe's final scores are predicted with.

    Its precision is not the training's: rows are to differ by what was trained alone.
    """
    device = accelerator.device
    encoder = Encoder(
        backbone.to(device), None, device, autocast(recipe.score_precision, device), first_trainable
    )
    convention = convention_named(recipe.convention)
    return evaluator(
        encoder, accelerator, recipe.encode_batch, bench.progress, bench.memory, cache, convention
    )


@dataclass(frozen=True)
class Test:
    """What a model is tested on, and how.

    Attributes:
        sources: datasets whose test splits are scored.
        shape: options of the backbone: how large its images are and how they are resized.
        predictors: each predicts every keypoint.
        labels: name of each predictor in the scores.
        alphas: thresholds of PCK.
        preset: when a keypoint is correct.
        limit: how many evenly spaced pairs of each split; None for all.
        framing: what a convention does with images and keypoints.
        flip: whether the better of the source and its mirror image is matched.
    """

    sources: tuple[DatasetSource, ...]
    shape: Backbone.Config
    predictors: tuple[Predictor, ...]
    labels: tuple[str, ...]
    alphas: Sequence[float]
    preset: Preset
    limit: int | None
    framing: Framing
    flip: bool


def score(plan: Plan, bench: Workbench, backbone: Backbone, accelerator: Accelerator) -> Scored:
    """Predict and score every test split of a plan.

    Args:
        plan: what is scored, and how.
        backbone: as it was trained.

    Raises:
        PeftCorrError: if a split cannot be read or scored.
    """
    recipe = plan.recipe
    # What was trained is scored once; a frozen backbone's features serve every later run with other predictors.
    cache: MapCache | None = None
    if (bench.keep_features or plan.run_id in bench.shared) and not plan.trains:
        assert plan.model.weights is not None
        own_cache = FeatureCache(bench.cache, plan.model.weights.id, bench.cache_limit)
        cache = own_cache if bench.keep_features else IfRoom(own_cache)
    # Where runs have frozen blocks in common, the last of them is where scoring begins too.
    first = scored_from(plan) if plan.run_id in bench.shared else 0
    own = scorer(recipe, backbone, bench, accelerator, cache, first)

    def sharing(opened: Split) -> Split:
        return replace(opened, prefixes=shared_prefixes(plan, bench, own.encoder, opened, torch.float32))

    test = Test(
        plan.tested,
        plan.model.options,
        plan.predictors,
        plan.labels,
        recipe.alphas,
        plan.preset,
        recipe.limit_pairs,
        plan.framing,
        recipe.flip == "adaptive",
    )
    found = tested(test, bench, own, sharing if first else None)
    if plan.trains:
        found.leakage = _leakage(plan, bench, accelerator)
    return found


def tested(test: Test, bench: Workbench, own: Evaluator, sharing: Callable[[Split], Split] | None) -> Scored:
    """Predict and score test splits.

    Args:
        test: which, and how.
        bench: opens them.
        own: predicts.
        sharing: gives a split what frozen blocks make of its images; None where runs share nothing.

    Raises:
        PeftCorrError: if a split cannot be read or scored.
    """
    begun = time.monotonic()
    found = Scored()

    def predictions(source: DatasetSource, split: str, limit: int | None) -> pa.Table:
        backwards = test.preset.direction == "backwards"
        opened = bench.split(source, split, test.shape, limit, test.framing, backwards)
        opened = sharing(opened) if sharing else opened
        predict = predict_with_flip if test.flip else Evaluator.predict
        return prediction_table(opened, predict(own, opened, test.predictors), test.labels)

    for source in test.sources:
        chosen = threshold = getattr(source.config, "occlusion_threshold", None)  # where points are tracked
        if threshold == "val":
            with selecting("the choice of the occlusion threshold"):
                chosen = choose_on(predictions(source, "val", None))
        table = predictions(source, "test", test.limit)
        found.tables.append(table)
        found.scores |= score_predictions(table, test.alphas, test.preset)
        if chosen is not None:
            found.tracking |= score_tracking(table, chosen, "val" if threshold == "val" else "fixed")
    found.seconds, found.forwards = time.monotonic() - begun, own.encoder.forwards
    for source, table in zip(test.sources, found.tables, strict=True):
        add_further(found.scores, table, test.alphas, test.preset)
        if source.held_out is not None:
            unseen = source.held_out.unseen_of(keypoint_names(bench.opened(source, "test")))
            found.generalisation |= generalisation(table, *unseen, test.alphas, test.preset)
    return found


def _leakage(plan: Plan, bench: Workbench, accelerator: Accelerator) -> dict[str, Leakage]:
    """Compare the images trained on, by this run and those that it started from, with those of every test split.

    What is found is said.
    """
    trained = [bench.split(plan.dataset, "trn", plan.model.options, None, plan.framing)]
    missing = []
    for stage in () if plan.initial is None else plan.initial.chain:
        split = _trained_on(stage, plan, bench)
        if all(everyones(split is not None)):
            assert split is not None
            trained.append(split)
        else:
            missing.append(stage.run_id)
            bench.progress.say(
                f"Warning: the images of {stage.dataset} that the run {stage.run_id} was trained on are not here, or "
                "are others by now: they are not compared with those that are tested on."
            )
    found = {}
    for source in plan.tested:
        test = bench.split(source, "test", plan.model.options, plan.recipe.limit_pairs, plan.framing)
        own = leakage(trained, test, accelerator).model_copy(update={"not_compared": missing})
        found[f"{test.dataset.name}/{test.dataset.split}"] = own
    for line in warnings(found):
        bench.progress.say(line)
    return found


def _trained_on(stage: Stage, plan: Plan, bench: Workbench) -> Split | None:
    """What an earlier training was given; None where that is not here, or not as it was."""
    try:
        source = bench.source(stage.section)
        if source.name != stage.dataset:
            return None
        if stage.annotation not in (None, annotation_digest(bench.opened(source, "trn"))):
            return None
        split = bench.split(source, "trn", plan.model.options, None, plan.framing)
    except (PeftCorrError, ValidationError, KeyError):
        return None
    return split if all((split.store.image_root / path).is_file() for path in split.data.images) else None

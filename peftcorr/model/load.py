"""``peftcorr.load``: a run, or a backbone as it comes, as a `Model`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from peftcorr.backbones.loading import fetched
from peftcorr.config import Section, complete, make, merge
from peftcorr.console.progress import Progress
from peftcorr.engine.plan import Model as Parts
from peftcorr.engine.scoring import scorer
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError
from peftcorr.features.recent import RecentMaps
from peftcorr.machine.alone import Alone, chosen_device
from peftcorr.machine.folders import cache_folder
from peftcorr.matching import PREDICTORS
from peftcorr.model.find import find_run
from peftcorr.model.finished import load_finished
from peftcorr.model.matching import Model
from peftcorr.recipe import DEFAULT_SECTIONS, Recipe, validate
from peftcorr.results.choice import chosen_predictor
from peftcorr.results.record import Record
from peftcorr.results.store import Store

Path_ = str | os.PathLike[str]


def load(
    run: Path_ | None = None,
    *,
    backbone: str | Mapping[str, Any] | None = None,
    weights: Path_ | None = None,
    image_size: int | None = None,
    predictor: str | Mapping[str, Any] | None = None,
    device: str | torch.device | None = None,
    output: Path_ = "runs",
) -> Model:
    """Load a finished run, or a backbone as it was pretrained, to match with.

    Args:
        run: an output folder with a run's id or the beginning of it (``runs/3f2a``), an id in `output`, the path of a
            record, a folder that has one run alone, or ``user/name`` on the Hugging Face hub.
        backbone: instead of a run, the name of a backbone (``dinov2_vitb14``; ``peftcorr ls`` lists them), or a mapping
            with its name and options.
        weights: folder or file of the backbone's weights; by default what ships with the package, else the hub's.
        image_size: side of the square input, in pixels; of a backbone alone, as a run has its own.
        predictor: how `Model.match` reads points off similarities: a name (``argmax``, ``window_softargmax``,
            ``tuned``), or a mapping with its options. By default the first of the run.
        device: where it computes, such as ``cuda``; by default an accelerator if there is one.
        output: folder of the runs, for an id alone and for what was tuned.

    Raises:
        PeftCorrError: if there is no such run or backbone, both are given, or the weights are missing or others.
    """
    if (run is None) == (backbone is None):
        given = "neither" if run is None else "both"
        raise PeftCorrError(f"Give a run or backbone=...: {given} was given.")
    chosen, root = chosen_device(device), Path(output)
    given_weights = None if weights is None else Path(weights)
    record: Record | None = None
    if run is not None:
        if image_size is not None:
            raise PeftCorrError("A run has the image size that it was trained at: leave image_size out.")
        record, store = find_run(run, root)
        root = store.root
        finished = load_finished(record, store, given_weights)
        recipe, parts = finished.recipe, finished.model
        network, strategy = finished.backbone, finished.strategy
    else:
        section = {"name": backbone} if isinstance(backbone, str) else dict(backbone or {})
        size = {} if image_size is None else {"image_size": image_size}
        values = {"strategy": {"name": "frozen"}, "backbone": {**section, **size}}
        recipe = validate(merge(DEFAULT_SECTIONS, values), "peftcorr.load")
        parts = Parts.of(
            recipe, lambda cls, config: fetched(cls, config, cls.find_weights(config, given_weights))
        )
        network, strategy = parts.build()
        network.eval()
    if predictor is not None:
        # A convention has its say on predictors.
        asked = [_section(predictor, recipe.predictors)]
        recipe = validate({**recipe.model_dump(mode="json"), "predictors": asked}, "predictor")
    sections = [_settled(one, recipe, parts, (root, Path(output))) for one in recipe.predictors]
    recipe = recipe.model_copy(update={"predictors": sections})
    bench = Workbench({}, given_weights, root, cache_folder(), Progress(None))
    return Model(
        recipe,
        record,
        parts,
        network,
        strategy,
        tuple(make(PREDICTORS, one) for one in sections),
        bench,
        scorer(recipe, network, bench, Alone(chosen), RecentMaps()),
    )


def _section(predictor: str | Mapping[str, Any], own: list[Section]) -> Section:
    """A predictor that was asked for; by its name alone, with the options that the run has it with."""
    if isinstance(predictor, str):
        found = next((section for section in own if section["name"] == predictor), None)
        return found or complete(PREDICTORS, predictor)
    return complete(PREDICTORS, dict(predictor))


def _settled(section: Section, recipe: Recipe, parts: Parts, places: Sequence[Path]) -> Section:
    """A predictor as it predicts: ``tuned`` is what was chosen for the backbone, in the first of the places with it."""
    if section["name"] != "tuned":
        return section
    weights, backbone = parts.weights, recipe.backbone
    assert weights is not None
    stores = [Store(place) for place in dict.fromkeys(places)]
    there = [
        s for s in stores if s.predictor_path(backbone["name"], weights.id, backbone["image_size"]).exists()
    ]
    kept = recipe.dataset.get("hold_out")
    return chosen_predictor(backbone, weights.id, weights.sha256, (there or stores)[0], kept)

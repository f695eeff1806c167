"""``peftcorr.evaluate``: a model's scores on a dataset, as a run's record has them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from peftcorr.config import complete
from peftcorr.console.progress import Progress
from peftcorr.data import DATASETS
from peftcorr.data.frame import FRAMINGS
from peftcorr.engine.plan import scored_by
from peftcorr.engine.scoring import Test, tested
from peftcorr.matching.predictors import label
from peftcorr.metrics.scores import Scores
from peftcorr.model.matching import Model
from peftcorr.recipe import validate


def evaluate(
    model: Model,
    dataset: str | Mapping[str, Any] | None = None,
    root: str | os.PathLike[str] | None = None,
    *,
    alphas: Sequence[float] | None = None,
    limit_pairs: int | None = None,
    progress: bool = False,
) -> dict[str, dict[str, Scores]]:
    """Score a model on the test split of a dataset, by the protocol of its run.

    Args:
        model: what `peftcorr.load` gave.
        dataset: its name (``pairs``, ``spair71k``; ``peftcorr ls`` lists them), or a mapping with its name and options;
            by default the one of the run.
        root: the dataset's folder, for datasets that need one and are not prepared.
        alphas: thresholds of PCK; by default the run's.
        limit_pairs: score this many evenly spaced pairs; by default as many as the run did.
        progress: whether a bar is shown in the terminal.

    Returns:
        PCK by ``"<dataset>/test"`` and predictor, as in a record's `scores`.

    Raises:
        PeftCorrError: if there is no such dataset, its folder is missing or wrong, or it has no test split.
    """
    changed = {
        **({} if alphas is None else {"alphas": list(alphas)}),
        **({} if limit_pairs is None else {"limit_pairs": limit_pairs}),
    }
    recipe = validate({**model.recipe.model_dump(mode="json"), **changed}, "peftcorr.evaluate")
    named = dataset if dataset is None or isinstance(dataset, str) else dict(dataset)
    section = recipe.dataset if named is None else complete(DATASETS, named)
    shown = Progress(Console() if progress else None)
    bench = replace(model.bench, progress=shown, data_roots={} if root is None else {"": Path(root)})
    source = bench.source(section)
    source.require_split("test")
    test = Test(
        (source,),
        model.parts.options,
        model.predictors,
        tuple(label(s["name"], p.config) for s, p in zip(recipe.predictors, model.predictors, strict=True)),
        recipe.alphas,
        scored_by(recipe, model.parts.options.image_size),
        recipe.limit_pairs,
        FRAMINGS[recipe.convention],
        recipe.flip == "adaptive",
    )
    # What was matched last stays: a split's thousands of maps would drive it out.
    own = replace(model.evaluator, cache=None, progress=shown)
    with model.alone():
        return tested(test, bench, own, None).scores

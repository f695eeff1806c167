"""``peftcorr.train``: one run by a recipe, from Python."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from peftcorr.config import nested
from peftcorr.console.progress import Progress
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError, shown
from peftcorr.machine.folders import cache_folder, places_of
from peftcorr.machine.launch import on_cpu
from peftcorr.results.record import Record
from peftcorr.sweep.cells import Asked, cells
from peftcorr.sweep.here import Overwrite, make_ready, sweep

AnyPath = str | os.PathLike[str]


def train(
    recipe: AnyPath | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    root: AnyPath | Mapping[str, AnyPath] | None = None,
    weights: AnyPath | None = None,
    output: AnyPath = "runs",
    overwrite: Overwrite = "missing",
    progress: bool = True,
) -> Record:
    """Train by a recipe, score what was trained and keep it, as ``peftcorr run`` does; what is done is not done again.

    Args:
        recipe: a YAML file, or the name of a recipe that comes with the package (``spair71k/lora``); by default LoRA
            on the embedded backbone and benchmark.
        overrides: keys of the recipe, which win over it: ``{"training": {"steps": 100}}``, or ``{"training.steps":
            100}``.
        root: folder of the datasets that need one, or a mapping of their names to folders.
        weights: folder or file of the backbone's weights; by default what ships with the package, else the hub's.
        output: where record, predictions and adapter go; `peftcorr.load` finds the run there.
        overwrite: what is done where the run has a record: ``missing``, ``failed``, ``always`` or ``never`` as of
            ``peftcorr run --overwrite``.
        progress: whether what goes on is said in the terminal.

    Returns:
        the record of the run.

    Raises:
        PeftCorrError: if the recipe is wrong or stands for several runs, or the run fails.
    """
    bench = Workbench(
        _roots(root),
        None if weights is None else Path(weights),
        Path(output),
        cache_folder(),
        Progress(Console() if progress else None),
    )
    on_cpu()
    places = places_of(bench.output)
    for place in places:
        place.require_writable()
    found = cells(Asked({}, nested(overrides or {}), recipe=None if recipe is None else Path(recipe)), bench)
    plans = [plan for _, plan in found]
    if len(plans) != 1:
        raise PeftCorrError(
            f"The recipe {shown(str(recipe))} stands for {len(plans)} runs: say in overrides which of its key vary is "
            "meant, or start them all with peftcorr run."
        )
    make_ready(plans, bench, overwrite, places)
    [outcome] = sweep(plans, bench, overwrite)
    if outcome.error is not None:
        raise PeftCorrError(outcome.error)
    record = bench.store.read(plans[0].run_id)
    assert record is not None
    return record


def _roots(given: AnyPath | Mapping[str, AnyPath] | None) -> dict[str, Path]:
    """Folders by dataset name; ``""`` is the folder of every other."""
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return {name: Path(path) for name, path in given.items()}
    return {"": Path(given)}

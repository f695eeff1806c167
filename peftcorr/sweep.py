"""A sweep: the product of every list on the command line, one run a cell, what is done not done again."""

from __future__ import annotations

import itertools
import os
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from accelerate import PartialState

from peftcorr.config import Section
from peftcorr.engine.plan import Plan, finalise
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError
from peftcorr.pipeline import run
from peftcorr.recipe import resolve
from peftcorr.results.identity import changed, decisive
from peftcorr.results.record import Record

Overwrite = Literal["missing", "failed", "always", "never"]


def cells(
    axes: dict[str, Sequence[object]],
    fixed: Section,
    assignments: list[str],
    recipe: Path | None,
    bench: Workbench,
) -> list[Plan]:
    """Plans of every combination.

    Args:
        axes: recipe key to the values it takes; an empty list leaves the key to the recipe.
        fixed: recipe keys with one value.

    Raises:
        PeftCorrError: if any cell is wrong, before the first one starts.
    """
    given = {key: values for key, values in axes.items() if values}
    found: dict[str, Plan] = {}
    for combination in itertools.product(*given.values()):
        command_line = {**fixed, **dict(zip(given, combination, strict=True))}
        cell = finalise(resolve(command_line, assignments, recipe), bench)
        found.setdefault(cell.run_id or cell.recipe.digest(), cell)
    return list(found.values())


@dataclass(frozen=True)
class Outcome:
    """What became of one cell: ``ran``, ``done`` before, ``failed``, or ``failed before``."""

    plan: Plan
    status: Literal["ran", "done", "failed", "failed before"]
    error: str | None = None


def sweep(plans: Sequence[Plan], bench: Workbench, overwrite: Overwrite) -> list[Outcome]:
    """Run the cells in order; one that fails leaves its record and stops no other.

    Raises:
        PeftCorrError: if a cell fails in one of several processes, which cannot go on without it.
    """
    outcomes = []
    for number, plan in enumerate(plans, start=1):
        head = f"[{number}/{len(plans)}] {plan.title} ({plan.run_id})"
        outcome = standing(plan, bench, overwrite)
        if outcome is None:
            for line in _since(plan, bench):
                bench.progress.say(line)
            bench.progress.say(f"{head}: running")
            outcome = _attempt(plan, bench)
        elif outcome.status == "done":
            bench.progress.say(f"{head}: done before, nothing to do")
        if outcome.error is not None:
            bench.progress.say(f"{head}: {outcome.status}: {outcome.error}")
        outcomes.append(outcome)
    return outcomes


def standing(plan: Plan, bench: Workbench, overwrite: Overwrite) -> Outcome | None:
    """What an earlier run left and the user wants kept, or None when the cell is to be run."""
    run_id = plan.run_id
    record = bench.store.read(run_id)
    if record is None or overwrite == "always":
        return None
    if record.status == "failed":
        if overwrite == "failed":
            return None
        return Outcome(plan, "failed before", f"{record.error} (--overwrite failed tries again)")
    # A record that came with the repository has no predictions beside it: here the run is still to be done.
    whole = bench.store.predictions_path(run_id).is_file()
    return Outcome(plan, "done") if whole or overwrite == "never" else None


def _attempt(plan: Plan, bench: Workbench) -> Outcome:
    try:
        run(plan, bench)
        return Outcome(plan, "ran")
    except PeftCorrError as error:
        text = str(error)
    except Exception as error:  # a defect of ours or of a library must not take the other cells with it
        if os.environ.get("PEFTCORR_DEBUG"):
            traceback.print_exc()
        text = f"{type(error).__name__}: {' '.join(str(error).split())} (PEFTCORR_DEBUG=1 shows where)"
    if PartialState().num_processes > 1:
        # The others may wait for this process in a collective that it has left: it must end, and they with it.
        raise PeftCorrError(f"{plan.title} ({plan.run_id}): failed: {text}")
    return Outcome(plan, "failed", text)


def _since(plan: Plan, bench: Workbench) -> list[str]:
    """Say why a cell has to be run although one of the same recipe was: what changed since it was measured."""
    wanted = decisive(plan.recipe.model_dump(mode="json"))
    lines = []
    for record in bench.store.records():
        if record.status == "failed" or record.schema_version == 1 or record.run_id == plan.run_id:
            continue
        if decisive(record.recipe) != wanted:
            continue
        names = [_named(name, plan) for name in changed(record.ingredients, plan.ingredients)]
        lines.append(f"{', '.join(names)} changed since {_score(record)} was measured ({record.run_id}).")
    return lines


def _named(ingredient: str, plan: Plan) -> str:
    """An ingredient as people call it: ``annotation of cvat/test``."""
    what, _, place = ingredient.partition(" ")
    if what == "plugin":
        return f"the code of the {place}"
    where, slash, split = place.rpartition("/")
    if not slash:
        return "the revision of the weights" if what == "commit" else f"the {what}"
    index = where.removeprefix("eval_on.")
    source = plan.eval_on[int(index)] if index.isdigit() and int(index) < len(plan.eval_on) else plan.dataset
    return f"{what} of {source.name}/{split}"


def _score(record: Record) -> str:
    """The first score of a record, in percent."""
    for predictors in record.scores.values():
        for scores in predictors.values():
            alpha = "0.1" if "0.1" in scores.per_keypoint else next(iter(scores.per_keypoint))
            return f"{scores.per_keypoint[alpha]:.2f}"
    return "nothing"

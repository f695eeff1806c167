"""A sweep: the product of every list on the command line, one run a cell, what is done not done again."""

from __future__ import annotations

import itertools
import os
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, cast

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from peftcorr.config import Section
from peftcorr.engine.plan import Plan, finalise
from peftcorr.engine.space import space
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError, told
from peftcorr.machine.folders import Place, require_room
from peftcorr.pipeline import run
from peftcorr.recipe import resolve
from peftcorr.results.identity import changed, decisive
from peftcorr.results.record import Record

Overwrite = Literal["missing", "failed", "always", "never"]
Status = Literal["ran", "done", "failed", "failed before"]
T = TypeVar("T")

_LOOK_EVERY = 1.0  # seconds between looks at a cell that another process is at


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
    status: Status
    error: str | None = None


def require_space(
    plans: Sequence[Plan], bench: Workbench, overwrite: Overwrite, output: Place, temporary: Place
) -> None:
    """Refuse a sweep whose cells that are still to be run will find no room.

    Raises:
        PeftCorrError: naming the folder that is too small.
    """
    found = [space(plan, bench) for plan in plans if standing(plan, bench, overwrite) is None]
    if found:
        kept = sum(each.kept for each in found) + max(each.state for each in found)  # one trains at a time
        require_room([(output, kept), (temporary, max(each.prefixes for each in found))])


def sweep(plans: Sequence[Plan], bench: Workbench, overwrite: Overwrite) -> list[Outcome]:
    """Run the cells in order; one that fails leaves its record and stops no other.

    A cell that another start is at is left to it: this one goes on with the others, and looks at it again at the end.

    Raises:
        PeftCorrError: if a cell fails in one of several processes, which cannot go on without it.
    """
    outcomes: dict[int, Outcome] = {}
    for patient in (False, True):
        for number, plan in enumerate(plans):
            if number in outcomes:
                continue
            head = f"[{number + 1}/{len(plans)}] {plan.title} ({plan.run_id})"
            outcome = _outcome(plan, bench, overwrite, head, patient)
            if outcome is None:
                bench.progress.say(f"{head}: another process is at it")
                continue
            if outcome.error is not None:
                bench.progress.say(f"{head}: {outcome.status}: {outcome.error}")
            elif outcome.status == "done":
                bench.progress.say(f"{head}: done before, nothing to do")
            outcomes[number] = outcome
    return [outcomes[number] for number in sorted(outcomes)]


def _outcome(plan: Plan, bench: Workbench, overwrite: Overwrite, head: str, patient: bool) -> Outcome | None:
    """What becomes of a cell, or None if another process is at it and this one is not to wait for that."""

    def before() -> Outcome | None:
        found = _agreed(lambda: standing(plan, bench, overwrite))
        return None if found is None else Outcome(plan, *found)

    if (outcome := before()) is not None:
        return outcome
    claim = bench.store.claim(plan.run_id)
    try:
        while not _agreed(claim.take):
            if not patient:
                return None
            time.sleep(_LOOK_EVERY)
        if (outcome := before()) is not None:  # the other process has done it by now
            return outcome
        for line in _since(plan, bench):
            bench.progress.say(line)
        bench.progress.say(f"{head}: running")
        return _attempt(plan, bench)
    finally:
        claim.give_back()


def _agreed(ask: Callable[[], T]) -> T:
    """The main process's answer, in every process: what each would find by itself may change in between."""
    state = PartialState()
    answer = [ask() if state.is_main_process else None]
    if state.num_processes > 1:
        broadcast_object_list(answer)
    return cast(T, answer[0])


def standing(plan: Plan, bench: Workbench, overwrite: Overwrite) -> tuple[Status, str | None] | None:
    """What an earlier run left and the user wants kept, or None when the cell is to be run."""
    run_id = plan.run_id
    record = bench.store.read(run_id)
    if record is None or overwrite == "always":
        return None
    if record.status == "failed":
        # What the machine did may be mended by now; what the recipe does, it does again.
        if overwrite == "failed" or (record.retry and overwrite != "never"):
            return None
        return "failed before", f"{record.error} (--overwrite failed tries again)"
    # A record that came with the repository has no predictions beside it: here the run is still to be done.
    whole = bench.store.predictions_path(run_id).is_file()
    return ("done", None) if whole or overwrite == "never" else None


def _attempt(plan: Plan, bench: Workbench) -> Outcome:
    try:
        run(plan, bench)
        return Outcome(plan, "ran")
    except Exception as error:  # a defect of ours or of a library must not take the other cells with it
        text = told(error)
        if not isinstance(error, PeftCorrError):
            text += " (PEFTCORR_DEBUG=1 shows where)"
            if os.environ.get("PEFTCORR_DEBUG"):
                traceback.print_exc()
        if PartialState().num_processes > 1:
            # The others may wait for this one in a collective that it has left: it must end, and they with it.
            raise PeftCorrError(f"{plan.title} ({plan.run_id}): failed: {text}") from error
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
            by_threshold = scores.per_keypoint
            if by_threshold:
                return f"{by_threshold.get('0.1', next(iter(by_threshold.values()))):.2f}"
    return "nothing"

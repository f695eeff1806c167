"""A sweep in this process: its cells one after the other, what is done not done again."""

from __future__ import annotations

import os
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from accelerate import PartialState

from peftcorr.engine.plan import Plan
from peftcorr.engine.space import space
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError, told
from peftcorr.files import remove_dead
from peftcorr.machine.agreement import agreed
from peftcorr.machine.folders import Place, require_room
from peftcorr.pipeline import run
from peftcorr.results.identity import changed, decisive
from peftcorr.results.record import Record

Overwrite = Literal["missing", "failed", "always", "never"]
Status = Literal["ran", "done", "failed", "failed before"]

_LOOK_EVERY = 1.0  # seconds between looks at a cell that another process is at


@dataclass(frozen=True)
class Outcome:
    """What became of one cell: ``ran``, ``done`` before, ``failed``, or ``failed before``."""

    plan: Plan
    status: Status
    error: str | None = None


def require_space(
    plans: Sequence[Plan],
    bench: Workbench,
    overwrite: Overwrite,
    output: Place,
    temporary: Place,
    cache: Place,
    at_once: int = 1,
    here: int = 1,
) -> frozenset[str]:
    """Refuse a sweep whose cells that are still to be run will find no room.

    Args:
        plans: of the cells.
        bench: where they run.
        overwrite: what to do where there is a record.
        output, temporary, cache: where they write.
        at_once: how many cells train at the same time, each with a state in the output folder,
        here: and how many of them on this machine, with its temporary folder.

    Returns:
        ids of the runs that have frozen blocks in common with another: they keep in the cache what those give.

    Raises:
        PeftCorrError: naming the folder that is too small.
    """
    found = {plan.run_id: space(plan, bench) for plan in plans if standing(plan, bench, overwrite) is None}
    if not found:
        return frozenset()
    counts = Counter(one.common for one in found.values() if one.common)
    kept = sum(each.kept for each in found.values()) + _most((one.state for one in found.values()), at_once)
    alone = _most((one.prefixes for one in found.values() if counts[one.common] < 2), here)
    together = sum(
        {each.common: each.prefixes for each in found.values() if counts[each.common] > 1}.values()
    )  # what is scored is kept if there is room for it too
    require_room([(output, kept), (temporary, alone), (cache, together)])
    return frozenset(run_id for run_id, one in found.items() if counts[one.common] > 1)


def _most(sizes: Iterable[int], count: int) -> int:
    """What the largest `count` take together."""
    return sum(sorted(sizes, reverse=True)[:count])


def make_ready(
    plans: Sequence[Plan],
    bench: Workbench,
    overwrite: Overwrite,
    places: tuple[Place, Place, Place],
    at_once: int = 1,
    here: int = 1,
) -> None:
    """Remove what killed processes left, refuse what finds no room, and let cells share what they have in common.

    Args:
        plans: of the cells.
        bench: where they run.
        overwrite: what to do where there is a record.
        places: output, cache and temporary folder (`places_of`).
        at_once, here: see `require_space`.

    Raises:
        PeftCorrError: as `require_space`.
    """
    if PartialState().is_main_process:
        bench.store.tidy()
        remove_dead(bench.cache)
    output, kept, temporary = places
    bench.shared = require_space(plans, bench, overwrite, output, temporary, kept, at_once, here)


def shared_space(plans: Sequence[Plan], bench: Workbench) -> int:
    """Bytes that runs with frozen blocks in common will keep in the cache of what those give."""
    found = [space(plan, bench) for plan in plans]
    counts = Counter(one.common for one in found if one.common)
    return sum({one.common: one.prefixes + one.tested for one in found if counts[one.common] > 1}.values())


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
            outcome = attempt(plan, bench, overwrite, head, patient)
            if outcome is None:
                bench.progress.say(f"{head}: another process is at it")
                continue
            if outcome.error is not None:
                bench.progress.say(f"{head}: {outcome.status}: {outcome.error}")
            elif outcome.status == "done":
                bench.progress.say(f"{head}: done before, nothing to do")
            outcomes[number] = outcome
    return [outcomes[number] for number in sorted(outcomes)]


def attempt(
    plan: Plan, bench: Workbench, overwrite: Overwrite, head: str, patient: bool = False
) -> Outcome | None:
    """Run one cell under a claim; returns what became of it, or None if another process is at it.

    Args:
        plan: of the cell.
        bench: where it runs.
        overwrite: what to do where there is a record.
        head: how its lines begin.
        patient: whether to wait for the other process.

    Raises:
        PeftCorrError: if the cell fails in one of several processes, which cannot go on without it.
    """

    def before() -> Outcome | None:
        found = agreed(lambda: standing(plan, bench, overwrite))
        return None if found is None else Outcome(plan, *found)

    if (outcome := before()) is not None:
        return outcome
    claim = bench.store.claim(plan.run_id)
    try:
        while not agreed(claim.take):
            if not patient:
                return None
            time.sleep(_LOOK_EVERY)
        if (outcome := before()) is not None:  # the other process has done it by now
            return outcome
        for line in _since(plan, bench):
            bench.progress.say(line)
        bench.progress.say(f"{head}: running")
        with bench.progress.watched(claim.tell):
            return _run(plan, bench)
    finally:
        claim.give_back()


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


def _run(plan: Plan, bench: Workbench) -> Outcome:
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
        if record.ingredients.get("init_from") != plan.ingredients.get("init_from"):
            continue  # it started elsewhere: nothing changed
        names = [_named(name, plan) for name in changed(record.ingredients, plan.ingredients)]
        lines.append(f"{', '.join(names)} changed since {_score(record)} was measured ({record.run_id}).")
    return lines


def _named(ingredient: str, plan: Plan) -> str:
    """An ingredient as people call it: ``annotation of cvat/test``."""
    what, _, place = ingredient.partition(" ")
    if what == "plugin":
        return f"the code of the {place}"
    where, slash, split = place.rpartition("/")
    if what == "held":
        return f"what is held out of {plan.dataset.name}"
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

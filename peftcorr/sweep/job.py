"""A job: one cell as another process, perhaps on another machine, is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from peftcorr.console.progress import Progress
from peftcorr.engine.plan import Plan, finalise
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError
from peftcorr.files import read_json, write_json
from peftcorr.machine.startup import uncollected
from peftcorr.recipe import Recipe
from peftcorr.sweep.here import Overwrite, attempt

BUSY = 75  # exit code where another process is at the cell (EX_TEMPFAIL of sysexits.h)


class Job(BaseModel):
    """What a worker needs to carry out one cell.

    Attributes:
        recipe: as it was asked for, with what was tuned in place of ``tuned``, which not every worker sees; what it
            names is looked up by the worker again.
        run_id: what that must come to.
        title: the cell in a few words.
        head: how lines about it begin.
        plugins: files that register more names.
        data_roots: see `Workbench`, as what follows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    recipe: dict[str, Any]
    run_id: str
    title: str
    head: str
    overwrite: Overwrite
    plugins: list[Path]
    data_roots: dict[str, Path]
    weights: Path | None
    output: Path
    cache: Path
    memory: int
    keep_features: bool
    shared: bool
    cache_limit: int | None
    track: tuple[str, ...]

    def bench(self, progress: Progress) -> Workbench:
        """The workbench that the job is done on."""
        return Workbench(
            self.data_roots, self.weights, self.output, self.cache, progress, self.memory, self.keep_features,
            shared=frozenset({self.run_id} if self.shared else ()), cache_limit=self.cache_limit, track=self.track,
        )  # fmt: skip


def jobs(
    cells: Sequence[tuple[Recipe, Plan]], bench: Workbench, plugins: Sequence[Path], overwrite: Overwrite
) -> list[Job]:
    """A job for each cell; paths are absolute, since a worker may stand in another folder."""
    return [
        Job(
            recipe=recipe.model_copy(update={"predictors": plan.recipe.predictors}).model_dump(mode="json"),
            run_id=plan.run_id,
            title=plan.title,
            head=f"[{number}/{len(cells)}] {plan.title} ({plan.run_id})",
            overwrite=overwrite,
            plugins=[path.absolute() for path in plugins],
            data_roots={name: path.absolute() for name, path in bench.data_roots.items()},
            weights=bench.weights and bench.weights.absolute(),
            output=bench.output.absolute(),
            cache=bench.cache.absolute(),
            memory=bench.memory,
            keep_features=bench.keep_features,
            shared=plan.run_id in bench.shared,
            cache_limit=bench.cache_limit,
            track=bench.track,
        )
        for number, (recipe, plan) in enumerate(cells, start=1)
    ]


def write_job(job: Job, path: Path) -> None:
    """Write a job for a worker, sealed.

    Raises:
        PeftCorrError: if it cannot be written.
    """
    write_json(path, job.model_dump(mode="json"))


def read_job(path: Path) -> Job:
    """Read a job.

    Raises:
        PeftCorrError: if the file is none.
    """
    try:
        return Job.model_validate(read_json(path))
    except (OSError, ValueError, ValidationError) as error:
        raise PeftCorrError(f"--job {path} is no job of a sweep: start the sweep again.") from error


def carry_out(job: Job, progress: Progress) -> int:
    """Run a job's cell.

    Returns:
        exit code: 0 where it ended well or had before, 1 where it failed or had before, `BUSY`.

    Raises:
        PeftCorrError: if what the recipe names is not what it was when the sweep was planned.
    """
    bench = job.bench(progress)
    with uncollected():
        plan = finalise(Recipe.model_validate(job.recipe), bench)
    if plan.run_id != job.run_id:
        raise PeftCorrError(
            f"{job.title}: data, weights or code are not here what they were when the sweep was planned "
            f"({plan.run_id} for {job.run_id}): start the sweep again."
        )
    outcome = attempt(plan, bench, job.overwrite, job.head)
    if outcome is None:
        return BUSY
    if outcome.error is not None:
        progress.say(f"{job.head}: {outcome.status}: {outcome.error}")
    return int(outcome.error is not None)

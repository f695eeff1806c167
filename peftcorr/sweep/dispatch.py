"""A sweep by workers: its cells handed to a launcher, the longest first, and what became of each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from peftcorr.engine.cost import estimate, trained_images
from peftcorr.engine.plan import Plan
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError
from peftcorr.sweep.here import Outcome, Overwrite, standing
from peftcorr.sweep.job import Job
from peftcorr.sweep.launchers.base import TICK, Ending, Launcher
from peftcorr.sweep.status import Board, remember


@dataclass
class _Sweep:
    plans: dict[str, Plan]
    bench: Workbench
    overwrite: Overwrite
    outcomes: dict[str, Outcome]
    board: Board

    def settle(self, job: Job, outcome: Outcome) -> None:
        self.outcomes[job.run_id] = outcome
        if outcome.error is not None:
            self.board.say(f"{job.head}: {outcome.status}: {outcome.error}")
        elif outcome.status == "done":
            self.board.say(f"{job.head}: done before, nothing to do")
        else:
            self.board.say(f"{job.head}: done")

    def ended(self, ending: Ending) -> None:
        job = ending.job
        plan = self.plans[job.run_id]
        found = standing(plan, self.bench, "never")  # whatever stands there, this job left it
        if ending.code == 0 and found == ("done", None):
            self.settle(job, Outcome(plan, "ran"))
        elif ending.code == 1 and found is not None and found[0] == "failed before":
            record = self.bench.store.read(job.run_id)
            assert record is not None
            self.settle(job, Outcome(plan, "failed", record.error))
        else:
            log = self.bench.store.log_path(job.run_id)
            last = f" ({log} shows what it printed); the same command tries again"
            self.settle(job, Outcome(plan, "failed", f"{ending.said()}{last}"))


def dispatch(
    plans: Sequence[Plan],
    jobs: Sequence[Job],
    launcher: Launcher,
    bench: Workbench,
    overwrite: Overwrite,
) -> list[Outcome]:
    """Have a launcher run the cells that are left; one that fails, or whose process dies, stops no other.

    A cell that another sweep is at is left to it, and looked at again at the end.

    Args:
        plans: of the cells.
        jobs: the same cells for the workers.
        launcher: carries them out.
        bench: of this process.
        overwrite: what to do where there are records.

    Raises:
        PeftCorrError: if the launcher cannot start anything, or a cell begins with what its jobs do not see.
    """
    for plan in plans:
        if plan.initial is not None and not launcher.sees_output:
            raise PeftCorrError(
                f"--init-from {plan.initial.record.run_id} needs that run's adapter, which jobs of --launcher "
                f"{launcher.name} do not see: leave --launcher out, or take one whose jobs share the disk of --output."
            )
    by_id = {plan.run_id: plan for plan in plans}
    with Board(bench.store, plans, bench.progress) as board:
        running = _Sweep(by_id, bench, overwrite, {}, board)
        left = []
        for job in jobs:
            found = standing(by_id[job.run_id], bench, overwrite)
            if found is None:
                left.append(job)
            else:
                running.settle(job, Outcome(by_id[job.run_id], *found))
        if left:
            remember(bench.store, plans)
        work = {plan.run_id: _work(plan) for plan in plans}
        left.sort(key=lambda job: -work[job.run_id])
        while left:
            busy = _round(left, launcher, running)
            left = []
            for job in busy:
                while bench.store.worker(job.run_id) is not None:
                    board.look()
                    time.sleep(TICK)
                found = standing(by_id[job.run_id], bench, "missing" if overwrite == "always" else overwrite)
                if found is None:
                    left.append(job)
                else:
                    running.settle(job, Outcome(by_id[job.run_id], *found))
    return [running.outcomes[plan.run_id] for plan in plans]


def _round(left: Sequence[Job], launcher: Launcher, running: _Sweep) -> list[Job]:
    """Carry out jobs; returns those that another sweep is at."""
    busy = []
    endings = launcher.endings(left)
    try:
        for ending in endings:
            if ending is None:
                running.board.look()
            elif ending.busy:
                busy.append(ending.job)
                running.board.say(f"{ending.job.head}: another process is at it")
            else:
                running.ended(ending)
    finally:
        endings.close()  # type: ignore[attr-defined]
    return busy


def _work(plan: Plan) -> float:
    """Operations that a cell takes, so that the longest begin first; none are known of an impossible one."""
    try:
        cost = estimate(plan.model)
    except PeftCorrError:
        return 0.0
    return cost.train_flops * trained_images(plan.recipe.training) if plan.trains else 0.0

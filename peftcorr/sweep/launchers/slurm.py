"""Jobs as an array of SLURM, through submitit: requeued on pre-emption and time limit, going on from their state."""

from __future__ import annotations

import re
import secrets
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import Field

from peftcorr.errors import PeftCorrError, reason
from peftcorr.files import read_json
from peftcorr.machine.termination import EXIT_CODE
from peftcorr.results.store import Store
from peftcorr.sweep.job import Job, write_job
from peftcorr.sweep.launchers.base import TICK, Ending, Launcher

try:
    import submitit

    from peftcorr.sweep.launchers.array_job import ArrayJob
except ImportError as error:
    raise PeftCorrError(
        f"the launcher slurm needs the package submitit ({reason(error)}): pip install 'peftcorr[slurm]'."
    ) from error

_LARGEST = 500  # jobs of an array; SLURM takes 1,000 unless told otherwise
_ASK_EVERY = 5.0  # seconds between two questions to the controller
_LATE = (
    30.0  # seconds in which a disk of several machines shows a file, after SLURM says that its job has ended
)
_CLOSES = 90.0  # seconds in which a cancelled array ends
_ALIVE = re.compile(
    "PENDING|RUNNING|SUSPENDED|COMPLETING|CONFIGURING|REQUEUE\\w+|RESIZING|SIGNALING|SPECIAL_EXIT|STAGE_OUT|STOPPED|RESV_\\w+"
)
_NOT_SBATCH = ("signal_delay_s", "timeouts", "more")


class Slurm(Launcher):
    """An array of SLURM jobs, requeued on pre-emption and time limit (peftcorr[slurm]).

    As many of its jobs run at a time as there are workers.
    """

    name = "slurm"

    class Config(Launcher.Config):
        """What is asked of SLURM."""

        partition: str | None = Field(None, description="sbatch's --partition")
        account: str | None = Field(None, description="sbatch's --account")
        qos: str | None = Field(None, description="sbatch's --qos")
        constraint: str | None = Field(None, description="sbatch's --constraint")
        mem: str | None = Field(None, description="sbatch's --mem")
        gpus_per_node: int | None = Field(None, ge=0, description="sbatch's --gpus-per-node")
        cpus_per_task: int | None = Field(None, ge=1, description="sbatch's --cpus-per-task")
        time: int = Field(60, ge=1, description="minutes after which a job makes room and is requeued")
        signal_delay_s: int = Field(
            90, ge=1, description="seconds before its end at which it is told to save its state"
        )
        timeouts: int = Field(
            20, ge=0, description="how often a cell may be requeued because its time was up"
        )
        setup: list[str] = Field(default_factory=list, description="lines of shell before each job")
        more: dict[str, Any] = Field(
            default_factory=dict, description="other options of sbatch, by their long names"
        )

    config: Config

    def endings(self, jobs: Sequence[Job]) -> Iterator[Ending | None]:
        """See `Launcher.endings`."""
        for start in range(0, len(jobs), _LARGEST):
            yield from self._array(jobs[start : start + _LARGEST])

    def _array(self, jobs: Sequence[Job]) -> Iterator[Ending | None]:
        folder = Store(jobs[0].output).log_path("slurm").with_suffix("")
        cells = {job.run_id: self._cell(job, folder) for job in jobs}
        submitted = self._submitted(list(cells.values()), folder)
        left = list(zip(jobs, submitted, strict=True))
        array = left[0][1].job_id.partition("_")[0]
        gone: dict[str, float] = {}
        asked = time.monotonic()
        try:
            while left:
                there = {path.name for path in folder.glob("*_result.pkl")}
                states = None
                if time.monotonic() - asked > _ASK_EVERY:
                    states, asked = _states(array), time.monotonic()
                for one in list(left):
                    job, at = one
                    cell = cells[job.run_id]
                    ending = _told(job, cell) if at.paths.result_pickle.name in there else None
                    if ending is None and states is not None:
                        ending = _without_a_word(job, at, states, gone)
                    if ending is not None:
                        left.remove(one)
                        _tidy(cell, at, ending)
                        yield ending
                yield None
                time.sleep(TICK)
        finally:
            if left:
                _cancel(array)
            for job, at in left:
                _tidy(cells[job.run_id], at, None)
            (folder / f"{array}_submission.sh").unlink(missing_ok=True)
            for link in folder.glob(".submission_file_*.sh"):  # submitit's, to the script
                if not link.exists():
                    link.unlink(missing_ok=True)

    def _cell(self, job: Job, folder: Path) -> ArrayJob:
        # Of this array alone: another sweep in the same output may have the same cell in one of its own.
        log, own = Store(job.output).log_path(job.run_id), f"{job.run_id}.{secrets.token_hex(4)}"
        file, ending = log.with_name(f"{own}.job.json"), folder / f"{own}.ended.json"
        write_job(job, file)
        return ArrayJob(file, log, ending, self.share.processes, max(5.0, self.config.signal_delay_s - 10.0))

    def _submitted(self, cells: Sequence[ArrayJob], folder: Path) -> list[submitit.Job[None]]:
        config = self.config
        asked = {k: v for k, v in config.model_dump(exclude=set(_NOT_SBATCH)).items() if v not in (None, [])}
        more = {"requeue": True, **config.more}  # some clusters leave that out
        if config.cpus_per_task is not None:  # srun has not taken it over from sbatch since 22.05
            asked["srun_args"] = [f"--cpus-per-task={config.cpus_per_task}"]
        try:
            executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=config.timeouts)
            executor.update_parameters(
                slurm_job_name="peftcorr",
                slurm_array_parallelism=self.share.workers,
                slurm_signal_delay_s=config.signal_delay_s,
                slurm_additional_parameters=more,
                **{f"slurm_{key}": value for key, value in asked.items()},
            )
            with executor.batch():
                return [executor.submit(cell) for cell in cells]
        except (RuntimeError, ValueError, OSError, submitit.core.utils.FailedJobError) as error:
            for cell in cells:
                cell.file.unlink(missing_ok=True)
            raise PeftCorrError(f"SLURM takes no jobs from here: {reason(error)}.") from error


def _told(job: Job, cell: ArrayJob) -> Ending | None:
    """How a job says that it ended."""
    try:
        found = read_json(cell.ending)
        return Ending(job, int(found["code"]), str(found["host"]), str(found["how"]))
    except (OSError, ValueError, KeyError):
        return None


def _without_a_word(
    job: Job, at: submitit.Job[None], states: dict[str, str], gone: dict[str, float]
) -> Ending | None:
    """The ending of a job that SLURM no longer has, or has as ended, for some time now."""
    state = states.get(at.job_id, "")
    if _ALIVE.fullmatch(state):
        gone.pop(at.job_id, None)
        return None
    since = gone.setdefault(at.job_id, time.monotonic())
    if time.monotonic() - since < _LATE:
        return None
    how = f"is {state.lower().replace('_', ' ')}" if state else "is no longer there"
    return Ending(
        job, EXIT_CODE, how=f"its SLURM job {at.job_id} {how}, and the cell is not done ({at.paths.stderr})"
    )


def _states(array: str) -> dict[str, str] | None:
    """State of each job of an array that SLURM still knows, by its id; None where it does not answer."""
    command = ["squeue", "--noheader", "--array", "--states", "all", "--jobs", array, "--format", "%i %T"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    if found.returncode and not re.search("invalid job id", found.stderr, re.IGNORECASE):
        return None
    return dict(line.split(maxsplit=1) for line in found.stdout.splitlines() if " " in line.strip())


def _cancel(array: str) -> None:
    """Cancel what is left of an array, and wait until it has saved its states."""
    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run(["scancel", array], capture_output=True, timeout=60, check=False)
    until = time.monotonic() + _CLOSES
    while time.monotonic() < until:
        states = _states(array)
        if states is not None and not any(map(_ALIVE.fullmatch, states.values())):
            return
        time.sleep(1)


def _tidy(cell: ArrayJob, at: submitit.Job[None], ending: Ending | None) -> None:
    """Remove what was for SLURM alone; what submitit printed stays where it may tell something."""
    paths = [cell.file, cell.ending, at.paths.submitted_pickle, at.paths.result_pickle]
    if ending is not None and not ending.how:
        paths += [at.paths.stdout, at.paths.stderr]
    for path in paths:
        path.unlink(missing_ok=True)

"""Jobs on this machine: each a process of its own, forked from one that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from peftcorr.files import passing_folder
from peftcorr.machine.processors import processors
from peftcorr.results.store import Store
from peftcorr.sweep.job import Job, write_job
from peftcorr.sweep.launchers.base import TICK, Ending, Launcher
from peftcorr.sweep.launchers.process import command, environment

_GRACE = 15.0  # seconds to save a state in
_PRELOAD = ["peftcorr.pipeline", "peftcorr.sweep.job", "datasets"]  # imported once, not once a job


@dataclass(frozen=True)
class Slot:
    """What of this machine a worker has: cores (none where the system cannot share them out) and GPUs."""

    cores: tuple[int, ...]
    devices: tuple[str, ...]


def gpus() -> list[str]:
    """The GPUs that may be used, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    names = [name.strip() for name in given.split(",")] if given else list(map(str, range(count)))
    return names[:count]


def slots(workers: int, processes: int) -> list[Slot]:
    """Share out cores and GPUs; where there are more workers than cores, or than GPUs, some are shared."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    devices = gpus()
    found = []
    for number in range(workers):
        own = cores[number * len(cores) // workers : (number + 1) * len(cores) // workers]
        if cores and not own:
            own = [cores[number * len(cores) // workers]]
        given = (
            [devices[(number * processes + n) % len(devices)] for n in range(processes)] if devices else []
        )
        found.append(Slot(tuple(own), tuple(given)))
    return found


class Local(Launcher):
    """Workers on this machine, which share its cores and GPUs."""

    name = "local"
    here = True

    @classmethod
    def at_a_time(cls, processes: int) -> int:
        """See `Launcher.at_a_time`: as many as there are GPUs for."""
        return max(1, len(gpus()) // processes)

    def endings(self, jobs: Sequence[Job]) -> Iterator[Ending | None]:
        """See `Launcher.endings`."""
        if not jobs:
            return
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOAD)
        waiting, running = deque(jobs), dict[BaseProcess, tuple[Job, Slot]]()
        free = deque(slots(self.share.workers, self.share.processes))
        stack = ExitStack()
        # Of this sweep alone: another one in the same output may hand the same cell to a process of its own.
        folder = stack.enter_context(passing_folder(Store(jobs[0].output).log_path("jobs").with_suffix("")))
        try:
            while waiting or running:
                while waiting and free:
                    job, slot = waiting.popleft(), free.popleft()
                    arguments = self._given(job, slot, folder)
                    process: BaseProcess = context.Process(target=_work, args=arguments)
                    process.start()
                    running[process] = job, slot
                ended = wait([process.sentinel for process in running], timeout=TICK)
                for process in [process for process in running if process.sentinel in ended]:
                    job, slot = running.pop(process)
                    process.join()
                    free.append(slot)
                    yield Ending(job, process.exitcode or 0)
                yield None
        finally:
            _stop(list(running))
            stack.close()

    def _given(self, job: Job, slot: Slot, folder: Path) -> tuple[str, str, Slot, int, int]:
        file, log = folder / f"{job.run_id}.json", Store(job.output).log_path(job.run_id)
        write_job(job, file)
        return str(file), str(log), slot, self.share.processes, os.getpid()


def _stop(running: list[BaseProcess]) -> None:
    for process in running:
        process.terminate()
    until = time.monotonic() + _GRACE
    for process in running:
        process.join(max(0.0, until - time.monotonic()))
    for process in running:
        if process.is_alive():
            process.kill()
            process.join()


def _work(file: str, log: str, slot: Slot, count: int, driver: int) -> None:
    """Be the process of one job: what it prints goes into the log."""
    with Path(log).open("ab", buffering=0) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    if slot.cores:
        os.sched_setaffinity(0, slot.cores)
    if slot.devices:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(slot.devices)
    given = environment(driver, processors(), count)
    if count > 1:
        os.execve(sys.executable, [sys.executable, *command(file, count)], given)
    for name in os.environ.keys() - given:
        del os.environ[name]
    os.environ |= given
    sys.argv = ["peftcorr", "run", "--job", file]
    runpy.run_module("peftcorr.cli", run_name="__main__", alter_sys=False)

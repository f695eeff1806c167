"""One job of a SLURM array: it runs a cell, and is requeued when its time is up or others come first.

Imports nothing heavy: it is the cell's own process that needs that.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from submitit.core.job_environment import JobEnvironment
from submitit.core.utils import UncompletedJobError
from submitit.helpers import DelayedSubmission

from peftcorr.files import write_json
from peftcorr.machine.processors import processors
from peftcorr.machine.termination import EXIT_CODE
from peftcorr.sweep.launchers.process import JobProcess

_SETTLES = 5.0  # seconds after which SLURM has said what a SIGTERM was about
_ASK_SECONDS = 30.0


@dataclass(frozen=True)
class ArrayJob:
    """What submitit calls in the job, and asks for what is to be called after a requeue.

    Attributes:
        file: of the cell's job.
        log: for what it prints.
        ending: file in which its exit code is left.
        processes: how many the cell has.
        grace: seconds that it has to save its state in.
        code: how it ended, when that came together with the requeue.
    """

    file: Path
    log: Path
    ending: Path
    processes: int
    grace: float
    code: int | None = None

    def __call__(self) -> None:
        """Run the cell, or go on with it, and leave its exit code.

        Raises:
            SystemExit: where the job has to end before the cell has.
        """
        how = ""
        try:
            code = self.code if self.code is not None else self._ended()
        except UncompletedJobError:  # submitit will not requeue any more
            code, how = EXIT_CODE, "SLURM ended it more often than timeouts of --launcher-set allows"
        write_json(self.ending, {"code": code, "host": socket.gethostname(), "how": how})
        self.file.unlink(missing_ok=True)  # whether or not anybody waits for it any more

    def checkpoint(self) -> DelayedSubmission:
        """Have the cell save its state; returns what goes on from it."""
        process, code = _Running.process, None
        if process is not None:
            process.stop()
            code = process.wait(self.grace)
            if process.was_stopped():
                code = None
        return DelayedSubmission(replace(self, code=code))

    def _ended(self) -> int:
        """Exit code of the cell's process, of its own accord."""
        usual = getattr(signal, f"SIG{JobEnvironment.USR_SIG}")
        signal.signal(signal.SIGTERM, _pass_on)
        cores = int(os.environ.get("SLURM_CPUS_PER_TASK") or processors())
        process = JobProcess(self.file, self.log, self.processes, min(cores, processors()), deaf=usual)
        _Running.process = process
        if _Running.asked:
            process.stop()
        code = process.wait()
        if not process.was_stopped():
            assert code is not None
            return code
        until = time.monotonic() + _SETTLES  # submitit's own signal may come, and end this here
        while time.monotonic() < until:
            time.sleep(0.1)
        if _goes_on():
            signal.raise_signal(usual)
        sys.exit(EXIT_CODE)  # cancelled, or requeued by SLURM itself: it knows


class _Running:
    """What the handlers of signals need of this process, which has one job."""

    process: JobProcess | None = None
    asked = False


def _pass_on(number: int, frame: FrameType | None) -> None:
    _Running.asked = True
    if _Running.process is not None:
        _Running.process.stop()


def _goes_on() -> bool:
    """Whether SLURM means this job to run: a bare SIGTERM asks it to make room, not to end for good."""
    command = ["squeue", "--noheader", "--jobs", os.environ["SLURM_JOB_ID"], "--format", "%T"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return True
    return found.stdout.strip() == "RUNNING"

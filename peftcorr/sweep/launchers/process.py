"""The process of one job, and what a scheduler's own process on that machine does with it. Imports nothing heavy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from peftcorr.machine.launchers import DRIVER
from peftcorr.machine.processors import SHARE
from peftcorr.machine.termination import EXIT_CODE

_RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_LOOK_EVERY = 0.2  # seconds


def command(file: str, processes: int) -> list[str]:
    """What Python is given to carry out a job, with torch's launcher where that takes several processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return [*(launcher if processes > 1 else []), "-m", "peftcorr.cli", "run", "--job", file]


def environment(driver: int, cores: int, processes: int) -> dict[str, str]:
    """Of a job's process: nothing of a launcher above us, and its share of the cores.

    Args:
        driver: id of the process that it does not outlive.
        cores: how many all its processes may use together.
        processes: how many there are.
    """
    kept = {key: value for key, value in os.environ.items() if key not in _RANKS}
    own = {DRIVER: str(driver), SHARE: str(cores), "OMP_NUM_THREADS": str(max(1, cores // processes))}
    return {**kept, **own}


class JobProcess:
    """A job's process, started.

    Args:
        file: of the job.
        log: what it prints goes to the end of this file.
        processes: how many the cell has.
        cores: how many they may use together.
        deaf: a signal that is for the scheduler's process alone, but reaches this one too.
    """

    def __init__(
        self, file: Path, log: Path, processes: int, cores: int, deaf: signal.Signals | None = None
    ) -> None:
        def ignore() -> None:
            if deaf is not None:
                signal.signal(deaf, signal.SIG_IGN)

        self.asked = False
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                [sys.executable, *command(str(file), processes)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=environment(os.getpid(), cores, processes),
                preexec_fn=ignore if deaf is not None else None,
            )

    def stop(self) -> None:
        """Have it save its state and end, unless it has ended."""
        if self.code() is None:
            self.asked = True
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        if self.code() is None:
            self._process.kill()

    def code(self) -> int | None:
        """Exit code, less than zero for a signal's number; None as long as it runs.

        A handler of a signal may ask while the program below it asks: nothing is locked.
        """
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        found = os.waitid(os.P_PID, self._process.pid, flags)
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def wait(self, seconds: float = float("inf")) -> int | None:
        """Its exit code as soon as it has one; None if it has none after that time."""
        until = time.monotonic() + seconds
        while (code := self.code()) is None and time.monotonic() < until:
            time.sleep(_LOOK_EVERY)
        return code

    def was_stopped(self) -> bool:
        """Whether it ended since it was told to, with more to be done."""
        code = self.code()
        return code in (EXIT_CODE, -signal.SIGTERM) or (self.asked and code not in (0, None))

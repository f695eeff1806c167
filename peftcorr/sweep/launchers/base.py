"""What a launcher is: it carries jobs out, each in a process of its own, and tells how each one ended."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from peftcorr.sweep.job import BUSY, Job

TICK = 0.5  # seconds between two looks


@dataclass(frozen=True)
class Ending:
    """How a job's process ended.

    Attributes:
        job: which.
        code: exit code; less than zero is a signal's number.
        where: more about it for people: the machine, say.
        how: what the launcher knows of an ending that left no record, in a few words; else the code tells.
    """

    job: Job
    code: int
    where: str = ""
    how: str = ""

    @property
    def busy(self) -> bool:
        """Whether another process was at the cell."""
        return self.code == BUSY

    def said(self) -> str:
        """The ending in a few words, of a process that left no record of its failure."""
        if self.how:
            return self.how
        if self.code < 0:
            how = f"ended by {signal.Signals(-self.code).name}"
            how += ", perhaps for want of memory" if self.code == -signal.SIGKILL else ""
        else:
            how = f"ended with the code {self.code}"
        return f"its process {how}{' on ' + self.where if self.where else ''}"


@dataclass(frozen=True)
class Share:
    """What of the machine each worker has.

    Attributes:
        workers: jobs at the same time.
        processes: of each job, through Accelerate.
    """

    workers: int
    processes: int = 1


class Launcher(ABC):
    """Carries jobs out.

    Args:
        config: options of ``--launcher-set``.
        share: how many at a time, and of how many processes each.

    Attributes:
        here: whether jobs run on this machine, with its disks.
        sees_output: whether a job sees the output folder, with what earlier runs left there.
    """

    name: str
    here = False
    sees_output = True

    class Config(BaseModel):
        """Options; a launcher adds its own."""

        model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, config: Config, share: Share):
        self.config, self.share = config, share

    @classmethod
    def at_a_time(cls, processes: int) -> int | None:
        """How many jobs at a time where nobody says, each of so many processes; None: as its queue decides."""
        return None

    @abstractmethod
    def endings(self, jobs: Sequence[Job]) -> Iterator[Ending | None]:
        """Carry out jobs, the first ones first; yield each ending as it comes, and None about every `TICK` seconds.

        Closed early, it stops what still runs; each job saves its state.

        Raises:
            PeftCorrError: if the jobs cannot be started at all.
        """

"""Jobs as tasks of a Ray cluster, whose nodes share no disk: what a cell needs goes out, what it leaves comes home."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from pydantic import Field

from peftcorr.errors import PeftCorrError, reason
from peftcorr.machine.lease import Lease
from peftcorr.machine.trackers import has_server
from peftcorr.results.store import Store
from peftcorr.results.transfer import packed_state, unpack
from peftcorr.sweep.job import BUSY, Job
from peftcorr.sweep.launchers.base import TICK, Ending, Launcher

try:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from peftcorr.sweep.launchers.ray_task import Board, Home, Report, Task, carry_out
except ImportError as error:
    raise PeftCorrError(
        f"the launcher ray needs the package ray ({reason(error)}): pip install 'peftcorr[ray]'."
    ) from error

_CLOSES = 60.0  # seconds in which cells save their states, and those come home


class Ray(Launcher):
    """Tasks on a Ray cluster, whose nodes need no common disk (peftcorr[ray]).

    A task a cell, at most as many at a time as there are workers.
    """

    name = "ray"
    sees_output = False

    class Config(Launcher.Config):
        """What is asked of Ray."""

        address: str | None = Field(
            None, description="of the cluster, HOST:PORT; else this machine's, or this machine alone"
        )
        num_cpus: int | None = Field(None, ge=1, description="of each cell; else one a process")
        num_gpus: float | None = Field(
            None, ge=0, description="of each cell; else one a process if the cluster has any"
        )
        retries: int = Field(3, ge=0, description="how often a cell is begun again whose node died")

    config: Config

    def endings(self, jobs: Sequence[Job]) -> Iterator[Ending | None]:
        """See `Launcher.endings`."""
        _require_servers(jobs)
        self._connect()
        running: dict[Any, tuple[Job, Lease]] = {}
        try:
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            board = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()
            carry = self._remote()
            waiting = deque(jobs)
            while waiting or running:
                while waiting and len(running) < self.share.workers:
                    job = waiting.popleft()
                    store = Store(job.output)
                    claim = store.claim(job.run_id)
                    if not claim.take():
                        yield Ending(job, BUSY)
                    elif job.overwrite != "always" and store.is_whole(job.run_id):
                        claim.give_back()  # another sweep has done it by now
                        yield Ending(job, 0)
                    else:
                        running[carry.remote(self._task(job), board)] = job, claim
                done, _ = ray.wait(list(running), num_returns=1, timeout=TICK) if running else ([], [])
                for task in done:
                    yield _come_home(task, *running.pop(task))
                _tell(board, running)
                yield None
        finally:
            if running:
                _leave(board, running)
            for _, claim in running.values():
                claim.give_back()
            ray.shutdown()

    def _connect(self) -> None:
        """Join the cluster.

        Raises:
            PeftCorrError: if there is none, or no node of it could ever take a cell.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        handler = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(
                address=self.config.address,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise PeftCorrError(
                f"There is no Ray cluster at {self.config.address or 'this machine'} ({reason(error)}): give "
                "--launcher-set address=HOST:PORT of one that runs."
            ) from error
        finally:
            signal.signal(signal.SIGTERM, handler)  # Ray's own would lose what is under way
        cpus, gpus = self._needs()
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
            ray.shutdown()
            raise PeftCorrError(
                f"No node of the Ray cluster has {cpus} CPUs and {gpus:g} GPUs: lower num_cpus or num_gpus of "
                "--launcher-set, or --processes-per-cell."
            )

    def _needs(self) -> tuple[int, float]:
        cpus, gpus = self.config.num_cpus, self.config.num_gpus
        if gpus is None:
            gpus = self.share.processes if ray.cluster_resources().get("GPU") else 0
        return self.share.processes if cpus is None else cpus, gpus

    def _remote(self) -> Any:
        cpus, gpus = self._needs()
        return ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=self.config.retries)(carry_out)

    def _task(self, job: Job) -> Task:
        """What a node needs to know.

        Raises:
            PeftCorrError: if a plugin's file cannot be read any more.
        """
        try:
            plugins = tuple((path.name, path.read_text(encoding="utf-8")) for path in job.plugins)
        except (OSError, ValueError) as error:
            raise PeftCorrError(f"A plugin cannot be sent to the nodes ({reason(error)}).") from error
        state = packed_state(Store(job.output), job.run_id)
        return Task(job.model_dump(mode="json"), plugins, state, self.share.processes, self._needs()[0])


def _require_servers(jobs: Sequence[Job]) -> None:
    """Refuse trackers that write beside the run, which here is a node's temporary folder.

    Raises:
        PeftCorrError: naming the first.
    """
    for name in (name for job in jobs for name in job.track if not has_server(name)):
        raise PeftCorrError(
            f"--track {name} writes to a disk, and nodes of a Ray cluster have none in common: track with wandb, or "
            "with mlflow and its server in MLFLOW_TRACKING_URI, there as here."
        )


def _come_home(task: Any, job: Job, claim: Lease) -> Ending:
    """Write what a cell left; what it was is in the ending."""
    store = Store(job.output)
    try:
        home: Home = ray.get(task)
        log = store.log_path(job.run_id)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            stream.write(home.log)
        unpack(store, job.run_id, home.files)
        return Ending(job, home.code, home.host, home.how)
    except PeftCorrError as error:
        return Ending(job, 1, how=str(error))
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        return Ending(job, 1, how=f"its task on the cluster failed ({reason(cause)})")
    finally:
        claim.give_back()


def _tell(board: Any, running: dict[Any, tuple[Job, Lease]]) -> dict[str, Report]:
    """Say here how far the cells are there; returns their reports."""
    try:
        reports: dict[str, Report] = ray.get(board.reports.remote(), timeout=10)
    except ray.exceptions.RayError:  # it tells later
        return {}
    for job, claim in running.values():
        if (report := reports.get(job.run_id)) is not None and report.what:
            note = ", ".join(filter(None, [report.note, f"node {report.host}"]))
            claim.tell(report.what, report.done, report.total, note)
    return reports


def _leave(board: Any, running: dict[Any, tuple[Job, Lease]]) -> None:
    """Have every cell under way save its state, and bring it home; those that have not begun are taken back."""
    with suppress(ray.exceptions.RayError):
        ray.get(board.end.remote(), timeout=10)
    begun = _tell(board, running)
    for task, (job, _) in running.items():
        if job.run_id not in begun:
            ray.cancel(task)
    until = time.monotonic() + _CLOSES
    while running and (left := until - time.monotonic()) > 0:
        done, _ = ray.wait(list(running), num_returns=1, timeout=left)
        for task in done:
            _come_home(task, *running.pop(task))

"""One cell on a node of a Ray cluster, in folders of its own there. Imports nothing heavy: its process does."""

from __future__ import annotations

import os
import socket
import tempfile
from concurrent.futures import TimeoutError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

from peftcorr.files import write_json
from peftcorr.machine.folders import cache_folder
from peftcorr.results.store import Store
from peftcorr.results.transfer import packed, unpack
from peftcorr.sweep.launchers.process import JobProcess

_LOOK_EVERY = 1.0  # seconds
_GRACE = 45.0  # seconds to save a state in
_LONGEST = 1 << 20  # bytes of what a process printed, the last ones


@dataclass(frozen=True)
class Task:
    """What goes out to a node.

    Attributes:
        job: a `Job` as plain values; its folders are the driver's.
        plugins: name and text of each file that registers more names.
        state: of a training that was begun, by path below the output folder.
        processes: how many the cell has.
        cores: how many they may use together.
    """

    job: dict[str, Any]
    plugins: tuple[tuple[str, str], ...]
    state: dict[str, bytes]
    processes: int
    cores: int


@dataclass(frozen=True)
class Home:
    """What comes home from a node.

    Attributes:
        code: exit code of the cell's process.
        host: where it ran.
        how: why it could not begin.
        log: what it printed.
        files: what it left, by path below the output folder.
    """

    code: int
    host: str
    how: str = ""
    log: bytes = b""
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """How far a cell is: see `Lease.tell`."""

    what: str
    done: int
    total: int
    note: str
    host: str


class Board:
    """An actor: where the cells tell how far they are, and hear when the sweep is over before they are done."""

    def __init__(self) -> None:
        self._reports: dict[str, Report] = {}
        self._over = False

    def tell(self, run_id: str, report: Report) -> bool:
        """Whether the cell should save its state and come home."""
        self._reports[run_id] = report
        return self._over

    def reports(self) -> dict[str, Report]:
        """The last report of each cell that has begun, by run id."""
        return self._reports

    def end(self) -> None:
        """The sweep is over."""
        self._over = True


def carry_out(task: Task, board: Any) -> Home:
    """Run the cell here, from what came with it, and return what it left."""
    host, job = socket.gethostname(), task.job
    wanted = [*job["data_roots"].values(), *filter(None, [job["weights"]])]
    absent = [path for path in wanted if not os.path.exists(path)]
    if absent:
        how = (
            f"the node {host} has no {absent[0]}: data and weights must lie there under the same path as here"
        )
        return Home(1, host, how)
    with tempfile.TemporaryDirectory(prefix="peftcorr-") as name:
        folder = Path(name)
        store, log = Store(folder / "output"), folder / "printed"
        process = JobProcess(_written(task, folder, store), log, task.processes, task.cores)
        try:
            while process.wait(_LOOK_EVERY) is None:
                if not process.asked and _is_over(store, job["run_id"], board, host):
                    process.stop()
        finally:  # the task may be cancelled
            process.stop()
            if process.wait(_GRACE) is None:
                process.kill()
        code = process.wait()
        assert code is not None
        return Home(code, host, "", log.read_bytes()[-_LONGEST:], packed(store, job["run_id"]))


def _written(task: Task, folder: Path, store: Store) -> Path:
    """Write all that came into folders of this node; returns the file of the job."""
    unpack(store, task.job["run_id"], task.state)
    plugins = []
    for number, (name, text) in enumerate(task.plugins):
        path = folder / "plugins" / str(number) / name  # two may have one name
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
        plugins.append(str(path))
    own = {"output": str(store.root), "cache": str(cache_folder()), "plugins": plugins}
    file = folder / "job.json"
    write_json(file, {**task.job, **own})
    return file


def _is_over(store: Store, run_id: str, board: Any, host: str) -> bool:
    worker = store.worker(run_id)
    report = Report("", 0, 0, "", host)
    if worker is not None:
        report = Report(worker.what, worker.done, worker.total, worker.note, host)
    try:
        # While a task waits in ray.get, Ray gives its share of the node to another one.
        return bool(board.tell.remote(run_id, report).future().result(timeout=30))
    except TimeoutError:
        return False
    except ray.exceptions.RayError:  # the driver's node is gone, and with it whoever waits for this
        return True

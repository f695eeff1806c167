"""Where the cells of an output folder stand: done, running, failed, stopped or waiting."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from peftcorr.console.progress import Progress
from peftcorr.console.table import make_table
from peftcorr.engine.plan import Plan
from peftcorr.errors import PeftCorrError
from peftcorr.files import read_json, write_json
from peftcorr.results.store import Store, read_record

State = Literal["running", "failed", "stopped", "waiting", "done"]
STATES: tuple[State, ...] = ("running", "failed", "stopped", "waiting", "done")
HEADER = ("run", "cell", "state", "what")

_PLANNED = "sweep-*.json"
_OFTEN = 2.0  # seconds between two looks at the cells of a sweep under way


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        run_id: of its run.
        title: in a few words.
        state: where it stands; ``stopped`` has a state of its training to go on from.
        what: more about it: where it runs and how far, or why it failed.
    """

    run_id: str
    title: str
    state: State
    what: str = ""

    def row(self) -> tuple[str, str, str, str]:
        """For a table below `HEADER`."""
        return self.run_id[:8], self.title, self.state, self.what


def remember(store: Store, plans: Sequence[Plan]) -> None:
    """Leave what a sweep is going to run, for `status`.

    Raises:
        PeftCorrError: if it cannot be written.
    """
    titles = {plan.run_id: plan.title for plan in plans}
    write_json(store.log_path(f"sweep-{min(titles)}").with_suffix(".json"), {"cells": titles})


def status(root: Path) -> list[Cell]:
    """Every cell that has a record, is running, or that a sweep was to run.

    Raises:
        PeftCorrError: if there is no such folder.
    """
    if not root.is_dir():
        raise PeftCorrError(f"There is no folder {root}: give the output folder of a sweep.")
    store = Store(root)
    titles: dict[str, str] = {}
    for path in sorted((root / "logs").glob(_PLANNED)):
        with suppress(OSError, ValueError, KeyError, AttributeError):
            # Where it is damaged its cells are known as soon as they begin.
            titles |= {str(name): str(title) for name, title in read_json(path)["cells"].items()}
    found = {path.stem for path in (root / "records").glob("*.json")}
    found |= {path.name for path in (root / "state").glob("[!.]*")}
    found |= {path.name[1:].partition(".")[0] for path in (root / "records").glob(".*.claim")}
    return [cell(store, run_id, titles.get(run_id, "")) for run_id in sorted(found | set(titles))]


def cell(store: Store, run_id: str, title: str) -> Cell:
    """Where one cell stands."""
    path = store.record_path(run_id)
    worker = store.worker(run_id)
    if worker is not None:
        left = worker.seconds_left(time.time())
        parts = [
            f"{worker.what} {worker.done:,}/{worker.total:,}" if worker.what else "starting",
            worker.note,
            "" if left is None else f"{_duration(left)} left",
            f"on {worker.host}",
        ]
        return Cell(run_id, title, "running", ", ".join(filter(None, parts)))
    try:
        record = read_record(path) if path.is_file() else None
    except PeftCorrError as error:
        return Cell(run_id, title, "failed", str(error))
    if record is not None:
        title = title or f"{record.strategy} on {record.backbone}, {record.dataset}, seed {record.seed}"
        if record.status == "failed":
            return Cell(run_id, title, "failed", record.error or "")
        return Cell(run_id, title, "done")
    steps = sorted(store.state_path(run_id).glob("step-*"))
    if steps:
        return Cell(run_id, title, "stopped", f"at step {int(steps[-1].name.removeprefix('step-')):,}")
    if store.can_resume(run_id):
        return Cell(run_id, title, "stopped", "searching its learning rate")
    return Cell(run_id, title, "waiting")


def counted(cells: Sequence[Cell]) -> str:
    """How many cells stand where, in a line."""
    counts = Counter(one.state for one in cells)
    return ", ".join(f"{counts[state]:,} {state}" for state in STATES if counts[state]) or "no cells"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else (f"{minutes} min {rest} s" if minutes else f"{rest} s")


class Board:
    """What a sweep under way shows: a live table of what runs in a terminal, and a line for each cell that ends."""

    def __init__(self, store: Store, plans: Sequence[Plan], progress: Progress):
        self._store, self._progress = store, progress
        self._titles = {plan.run_id: plan.title for plan in plans}
        self._looked = 0.0
        console = progress.console
        self._live = Live(console=console, transient=True, auto_refresh=False) if _live(console) else None

    def __enter__(self) -> Board:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a line above the table."""
        self._progress.say(text)

    def look(self) -> None:
        """Show what runs, if it is time to."""
        now = time.monotonic()
        if self._live is None or now - self._looked < _OFTEN:
            return
        self._looked = now
        cells = [cell(self._store, run_id, title) for run_id, title in self._titles.items()]
        rows = [one.row() for one in cells if one.state == "running"]
        console = self._live.console
        table = make_table(console, HEADER, rows, text=range(4), whole=(0,))
        self._live.update(Group(table, Text(counted(cells))), refresh=True)


def _live(console: Console | None) -> bool:
    return console is not None and console.is_terminal

"""The command line on small things: in this process, or in processes of its own."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from accelerate.state import AcceleratorState, GradientState, PartialState
from rich.console import Console

from peftcorr.cli import main
from peftcorr.config import Section
from peftcorr.console.progress import Progress
from peftcorr.engine.plan import finalise
from peftcorr.engine.workbench import Workbench
from peftcorr.machine.folders import places_of
from peftcorr.recipe import resolve
from peftcorr.report.figure import draw
from peftcorr.report.leaderboard import Board
from peftcorr.report.rendering import Format
from peftcorr.results.record import Record
from peftcorr.results.store import Store
from peftcorr.sweep.here import Outcome, make_ready, sweep
from tests.forked import Forked
from tests.small_folder import write_folder
from tests.small_models import Small, save_weights

PROJECT = Path(__file__).resolve().parents[1]
PLUGIN = PROJECT / "tests" / "small_models.py"
PLAIN = ("-m", "peftcorr.cli")
QUICK = ("training.steps=4", "training.images=3", "training.validate_every=2", "training.checkpoint_every=2")


class Commands:
    """A folder of photographs, random weights and an output folder, all below one temporary folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.photographs = write_folder(folder / "photographs")
        self.weights = save_weights(Small, folder / "small-weights")
        self.output = folder / "out"

    @property
    def store(self) -> Store:
        return Store(self.output)

    def arguments(self, *more: str, assignments: Sequence[str] = QUICK) -> list[str]:
        """``run`` with the small backbone, weights, photographs and output folder, and `more`."""
        given = " ".join(more)
        arguments = ["run", *more]
        for flag, value in (
            ("--backbone", "small"),
            ("--weights", str(self.weights)),
            ("--dataset", "pairs"),
            ("--data-root", str(self.photographs)),
            ("--output", str(self.output)),
        ):
            if flag not in given:
                arguments += [flag, value]
        return [*arguments, *(["--set", *assignments] if assignments else [])]

    def run(self, *more: str, assignments: Sequence[str] = QUICK) -> int:
        """Run in this process, as if nothing had run in it before; returns the exit code."""
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PEFTCORR_CACHE", str(self.folder / "cache"))
            patch.setattr("peftcorr.report.compile.draw", _drawn_once)
            return main(self.arguments(*more, assignments=assignments))

    def swept(self, *options: Section, **of_bench: Any) -> list[Outcome]:
        """Run cells in this process, on few pairs, without a command line and without a leaderboard after them."""
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        PartialState(cpu=True)
        bench = self.bench(**of_bench)
        named = {"strategy": "frozen", "backbone": "small", "dataset": "pairs"}
        named |= {"predictors": ["argmax"], "limit_pairs": 2}
        plans = [finalise(resolve({**named, **one}, [], None), bench) for one in options]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PEFTCORR_CACHE", str(bench.cache))
            make_ready(plans, bench, "missing", places_of(bench.output))
        return sweep(plans, bench, "missing")

    def bench(self, **more: Any) -> Workbench:
        """The workbench of a run that says what it does."""
        place = self.output, self.folder / "cache", Progress(Console())
        return Workbench({"": self.photographs}, self.weights, *place, **more)

    def records(self) -> list[Record]:
        return self.store.records()

    def record(self) -> Record:
        """The only record."""
        [record] = self.records()
        return record

    def environment(self, **more: str) -> dict[str, str]:
        """Of a process of its own: nothing of this one's launcher, no network, a cache of its own."""
        kept = {
            key: value
            for key, value in os.environ.items()
            if key not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
            and not key.startswith(("ACCELERATE_", "PYTEST_"))
        }
        own = {"PEFTCORR_CACHE": str(self.folder / "cache"), "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
        return {**kept, **own, **more}

    def process(
        self, launcher: Sequence[str], arguments: Sequence[str], timeout: float = 900, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``python *launcher *arguments`` to its end; what it started ends with it at the latest."""
        command = [sys.executable, *launcher, *arguments]
        with one_core() if launcher == PLAIN else nullcontext():
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=PROJECT,
                env=self.environment(**environment),
            )
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            for started in (*psutil.Process(process.pid).children(recursive=True), process):
                started.kill()
            raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def forked(
        self, arguments: Sequence[str], timeout: float = 300, folder: Path = PROJECT, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``peftcorr *arguments`` in `folder` to its end, in a process forked from one that is warm."""
        return Forked(arguments, self.environment(**environment), folder).communicate(timeout)

    def ranks(
        self, arguments: Sequence[str], count: int, timeout: float = 300
    ) -> list[subprocess.CompletedProcess[str]]:
        """Run the `count` processes of one command as torch's launcher starts them; each to its end."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        together = {
            "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        }  # fmt: skip
        processes = [
            Forked(arguments, self.environment(RANK=str(rank), LOCAL_RANK=str(rank), **together), PROJECT)
            for rank in range(count)
        ]
        return [process.communicate(timeout) for process in processes]


_FIGURES: dict[str, bytes] = {}


def _drawn_once(
    title: str, board: Board, strategies: Sequence[str], trained_on: str | None = None, kind: Format = "svg"
) -> bytes:
    """A figure, which is a function of what it shows: many tests end at the same leaderboard but for its seconds."""
    rows = tuple(
        replace(row, train_seconds=None, peak_memory=None, run_ids=(), scored=()) for row in board.rows
    )
    board = replace(board, rows=rows)
    key = repr((title, board, strategies, trained_on, kind))
    if key not in _FIGURES:
        _FIGURES[key] = draw(title, board, strategies, trained_on, kind)
    return _FIGURES[key]


def run_of(commands: Commands, strategy: str, layer: int | None = None) -> str:
    """Id of the run of a strategy, on all blocks or on an earlier one."""
    [found] = [
        record.run_id
        for record in commands.records()
        if record.strategy == strategy and record.recipe["backbone"].get("layer") == layer
    ]
    return found


@contextmanager
def one_core() -> Iterator[None]:
    """Give what is started here one core: threads of small products wait for each other on a busy machine."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {random.choice(sorted(cores))})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def scores(record: Record) -> dict[str, Any]:
    """Every score of a record, as plain values."""
    values: dict[str, Any] = json.loads(record.model_dump_json())["scores"]
    return values


def one_sentence(text: str) -> str:
    """The only line that says what went wrong."""
    lines = [line for line in text.splitlines() if "peftcorr: " in line or ": failed" in line]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    assert "Error: " not in lines[0], "a bare exception of a library"
    return lines[0]

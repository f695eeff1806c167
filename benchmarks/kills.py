"""A sweep that is killed at random moments, ends as one that never was: same records, same predictions, nothing left.

    python benchmarks/kills.py --kills 50

Four cells of `tiny` on a small rendering of its own; every start is a fresh interpreter in a process group of its own,
and SIGKILL (of some starts SIGTERM) goes to the whole group at a random moment. When a sweep has ended, the next one
begins in an empty output folder and an empty cache. Then two processes lose their launcher, their agent or one another;
and, where disks can be mounted (as root on Linux), a sweep meets a full one and ones that are read-only. Prints tables.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mishaps import JOB, disks, launchers, markdown, saved_steps
from timing.settings import PROJECT

_OTHER = {"seconds", "train_seconds", "eval_seconds", "peak_memory_bytes", "peak_memory_by_process"}
_GOING_ON = re.compile(r"\(([0-9a-f]{16})\): running|going on from step (\d+)")


@dataclass
class Tally:
    """What the kills came to."""

    kills: dict[str, int] = field(default_factory=dict)
    phases: dict[str, int] = field(default_factory=dict)
    starts: int = 0
    sweeps: int = 0
    unequal: int = 0
    redone: int = 0
    left: list[str] = field(default_factory=list)
    wrong_codes: list[int] = field(default_factory=list)


def main(arguments: Sequence[str]) -> int:
    """Kill, go on, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="how many starts are killed (default: 50)")
    parser.add_argument("--minutes", type=float, default=60.0, help="stop killing after this long")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parsed = parser.parse_args(arguments)
    draw, tally = random.Random(parsed.seed), Tally()
    with tempfile.TemporaryDirectory(prefix="peftcorr-kills-") as work:
        folder = Path(work)
        begun = time.monotonic()
        _start(folder / "unbroken")
        length = time.monotonic() - begun
        expected = results(folder / "unbroken")
        assert len(expected) == 4, "the unbroken sweep did not end well"
        deadline = time.monotonic() + 60 * parsed.minutes
        while sum(tally.kills.values()) < parsed.kills and time.monotonic() < deadline:
            tally.sweeps += 1
            _sweep(folder / f"sweep-{tally.sweeps}", parsed.kills, deadline, length, draw, tally, expected)
            print(json.dumps(tally.__dict__), flush=True)
        print(_table(tally, length))
        rows = [
            *launchers(folder),
            *(disks(folder) if sys.platform == "linux" and os.geteuid() == 0 else []),
        ]
    print(markdown(rows))
    return int(bool(tally.unequal or tally.redone or tally.left or tally.wrong_codes))


def _sweep(
    folder: Path, kills: int, deadline: float, length: float, draw: random.Random, tally: Tally,
    expected: dict[str, Any],
) -> None:  # fmt: skip
    """One sweep, killed again and again until it ends."""
    saved: dict[str, int] = {}  # last step of each run's state
    done: dict[str, int] = {}  # when the record of each whole run was written
    while True:
        going_on = sum(tally.kills.values()) < kills and time.monotonic() < deadline
        by = signal.SIGTERM if draw.random() < 0.2 else signal.SIGKILL
        out, code = _start(folder, draw.uniform(0.3, length) if going_on else None, by)
        tally.starts += 1
        now = _whole(folder)
        tally.redone += _begun_again(out, saved, set(now) - set(done))
        tally.redone += sum(now.get(run, -1) != written for run, written in done.items())
        saved, done = saved_steps(folder), now
        if code == 0:
            break
        if code not in (-signal.SIGKILL, -signal.SIGTERM, 143) or not going_on:
            tally.wrong_codes.append(code)
            print(out, flush=True)
            break
        tally.kills[by.name] = tally.kills.get(by.name, 0) + 1
        phase = _phase(out)
        tally.phases[phase] = tally.phases.get(phase, 0) + 1
    tally.unequal += results(folder) != expected
    tally.left += leftovers(folder)


def _start(folder: Path, after: float | None = None, by: signal.Signals = signal.SIGKILL) -> tuple[str, int]:
    """Start the sweep; kill its whole group after some seconds. Returns what it said, and its exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "PEFTCORR_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "peftcorr.cli", JOB[0], "--output", str(folder / "out"), *JOB[1:]],
        env={**environment, "PYTHONUNBUFFERED": "1"}, cwd=PROJECT, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=one_core,
    )  # fmt: skip
    try:
        out, _ = process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, by)
        out, _ = process.communicate()
    return out, process.returncode


def one_core() -> None:
    """Give this process one core; products of several threads add up in another order."""
    if hasattr(os, "sched_setaffinity"):  # threads of small products wait for each other on a busy machine
        os.sched_setaffinity(0, {random.choice(sorted(os.sched_getaffinity(0)))})


def _phase(out: str) -> str:
    """What a start was at when it was killed, by what it had said."""
    cell = out.rpartition(": running")[2] if ": running" in out else None
    if cell is None:
        return "before the first cell"
    return "in a cell"


def _begun_again(out: str, saved: dict[str, int], ended: set[str]) -> int:
    """How many trainings did not go on from the last step that a start before had saved."""
    run, begun = "", {}
    for found in _GOING_ON.finditer(out):
        if found[1]:
            run = found[1]
        else:
            begun[run] = int(found[2])
    return sum(begun.get(run, 0 if run in ended else step) < step for run, step in saved.items())


def _whole(folder: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in (folder / "out" / "records").glob("[!.]*.json")}


def results(folder: Path) -> dict[str, Any]:
    """Records without what is of the clock, with the digests of all they name."""
    found = {}
    for path in sorted((folder / "out" / "records").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        for name in record["files"]:
            file = folder / "out" / name
            assert file.exists(), file
            if file.is_file():
                assert hashlib.sha256(file.read_bytes()).hexdigest() == record["files"][name]
        found[path.stem] = _timeless({key: value for key, value in record.items() if key != "seal"})
    return found


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(each) for key, each in value.items() if key not in _OTHER}
    return [_timeless(each) for each in value] if isinstance(value, list) else value


def leftovers(folder: Path) -> list[str]:
    """What is hidden below output and cache, locks that stay apart, and states."""
    hidden = [path for path in folder.rglob(".*") if not path.name.endswith(".lock")]
    return [path.relative_to(folder).as_posix() for path in (*hidden, *(folder / "out" / "state").glob("*"))]


def _table(tally: Tally, length: float) -> str:
    rows = [
        ("one unbroken sweep of four cells", f"{length:.1f} s"),
        ("starts", str(tally.starts)),
        *((f"killed by {name}", str(count)) for name, count in tally.kills.items()),
        *((f"killed {phase}", str(count)) for phase, count in tally.phases.items()),
        ("sweeps that ended", str(tally.sweeps)),
        ("sweeps whose records or predictions differ from the unbroken one's", str(tally.unequal)),
        ("cells or saved steps done again", str(tally.redone)),
        ("files left after the last start", str(len(tally.left))),
        ("other exit codes", str(len(tally.wrong_codes))),
    ]
    return markdown(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

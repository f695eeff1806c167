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
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from timing.settings import PROJECT

STEPS = 12
JOB = (
    "run", "--strategy", "frozen", "lora", "last_k", "adaptformer", "--limit-pairs", "20",
    "--image-size", "56", "--set",
    "dataset.categories=[bird, car, chair]", "dataset.images={trn: 6, val: 4, test: 4}",
    "dataset.pairs={trn: 20, val: 8, test: 8}", f"training.steps={STEPS}", "training.images=3",
    "training.checkpoint_every=2", "training.validate_every=6",
)  # fmt: skip
_SECONDS = {"seconds", "train_seconds", "eval_seconds", "peak_memory_bytes"}
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
        expected = _results(folder / "unbroken")
        assert len(expected) == 4, "the unbroken sweep did not end well"
        deadline = time.monotonic() + 60 * parsed.minutes
        while sum(tally.kills.values()) < parsed.kills and time.monotonic() < deadline:
            tally.sweeps += 1
            _sweep(folder / f"sweep-{tally.sweeps}", parsed.kills, deadline, length, draw, tally, expected)
            print(json.dumps(tally.__dict__), flush=True)
        print(_table(tally, length))
        rows = [
            *_launchers(folder),
            *(_disks(folder) if sys.platform == "linux" and os.geteuid() == 0 else []),
        ]
    print(_markdown(rows))
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
        saved, done = _saved(folder), now
        if code == 0:
            break
        if code not in (-signal.SIGKILL, -signal.SIGTERM, 143) or not going_on:
            tally.wrong_codes.append(code)
            print(out, flush=True)
            break
        tally.kills[by.name] = tally.kills.get(by.name, 0) + 1
        phase = _phase(out)
        tally.phases[phase] = tally.phases.get(phase, 0) + 1
    tally.unequal += _results(folder) != expected
    tally.left += _leftovers(folder)


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
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=_one_core,
    )  # fmt: skip
    try:
        out, _ = process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, by)
        out, _ = process.communicate()
    return out, process.returncode


def _one_core() -> None:
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


def _saved(folder: Path) -> dict[str, int]:
    return {
        state.name: max((int(step.name[5:]) for step in state.glob("step-*")), default=0)
        for state in (folder / "out" / "state").glob("[!.]*")
    }


def _whole(folder: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in (folder / "out" / "records").glob("[!.]*.json")}


def _results(folder: Path) -> dict[str, Any]:
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
        return {key: _timeless(each) for key, each in value.items() if key not in _SECONDS}
    return [_timeless(each) for each in value] if isinstance(value, list) else value


def _leftovers(folder: Path) -> list[str]:
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
    return _markdown(rows)


def _launchers(folder: Path) -> list[tuple[str, str]]:
    """Seconds until all processes of a training are gone after one of them was killed."""
    agent = (
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "-m",
        "peftcorr.cli",
        "run",
    )
    accelerate = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "benchmarks/run.py")
    rows = []
    for name, launcher, which in (
        ("accelerate launch", accelerate, 0), ("the agent below it", accelerate, 1), ("torchrun", agent, 0),
        ("one of two ranks", agent, -1),
    ):  # fmt: skip
        place = folder / name.replace(" ", "-")
        place.mkdir()
        job = [*JOB[1:], f"training.steps={10**6}", "strategy.name=lora"]
        job = [word for word in job if word not in ("frozen", "lora", "last_k", "adaptformer", "--strategy")]
        with (place / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, *launcher, "--output", str(place), *job], cwd=PROJECT, start_new_session=True,
                env={**os.environ, "PEFTCORR_CACHE": str(folder / "unbroken" / "cache")}, stdout=log, stderr=log,
            )  # fmt: skip
            deadline = time.monotonic() + 300
            while (
                not list(place.glob("state/*/step-*"))
                and time.monotonic() < deadline
                and process.poll() is None
            ):
                time.sleep(0.1)
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            family[which].kill()
            begun = time.monotonic()
            process.wait() if which == 0 else None
            while (left := [one for one in family if _lives(one)]) and time.monotonic() < begun + 60:
                process.poll()
                time.sleep(0.1)
        rows.append(
            (f"SIGKILL of {name}: {len(family)} processes gone after", f"{time.monotonic() - begun:.1f} s")
        )
        for one in left:
            one.kill()
    return rows


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _disks(folder: Path) -> list[tuple[str, str]]:
    """What a sweep says to a disk that fills up, and to disks that are read-only; and the same command after that."""
    rows = []
    cache = folder / "unbroken" / "cache"
    with _mounted(folder / "small", "size=3m") as small:
        out, code = _run(small / "out", cache)
        rows.append(("output of 3 MB, too small for these cells", f"exit {code}: {_told(out)}"))
        job = [*JOB[1:], "strategy.name=lora", "training.steps=60"]
        job = [word for word in job if word not in ("frozen", "lora", "last_k", "adaptformer", "--strategy")]
        filling = threading.Thread(target=_fill, args=(small,))
        filling.start()
        out, code = _run(small / "out", cache, job=job)
        filling.join()
        rows.append(("output of 3 MB that fills up in training", f"exit {code}: {_told(out)}"))
        (small / "ballast").unlink()
        saved = _saved(small)
        out, code = _run(small / "out", cache, job=job)
        rows.append(
            (
                f"the same command, after space was made, steps saved {[*saved.values()]}",
                f"exit {code}: {_told(out)}",
            )
        )
    for what in ("output", "cache", "TMPDIR"):
        with _mounted(folder / "fixed", "size=3m,ro") as fixed:
            empty = folder / f"empty-{what}"
            out, code = _run(
                fixed / "out" if what == "output" else empty, fixed if what == "cache" else folder / "new-cache",
                {"TMPDIR": str(fixed)} if what == "TMPDIR" else {},
            )  # fmt: skip
            made = any(path.exists() for path in (empty, folder / "new-cache"))
            rows.append(
                (f"read-only {what}", f"exit {code}, {'something' if made else 'nothing'} made: {_told(out)}")
            )
    return rows


def _fill(disk: Path) -> None:
    """Fill a disk as soon as a training there has saved a state."""
    while not list(disk.glob("out/state/*/step-*")):
        time.sleep(0.02)
    with (disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(bytes(4096))


def _run(
    output: Path, cache: Path, environment: Mapping[str, str] | None = None, job: Sequence[str] = JOB[1:]
) -> tuple[str, int]:
    done = subprocess.run(
        [sys.executable, "-m", "peftcorr.cli", "run", "--output", str(output), *job], cwd=PROJECT, text=True,
        env={**os.environ, "PEFTCORR_CACHE": str(cache), "COLUMNS": "300", **(environment or {})}, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.stdout, done.returncode


def _told(out: str) -> str:
    """The lines that matter, shortened."""
    lines = [line for line in out.splitlines() if re.search(r"failed|peftcorr: |going on|done before", line)]
    return " / ".join(re.sub(r"/\S*/", "…/", line) for line in lines)


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _markdown(rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(["| what | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What else than kills of everything happens to a sweep: launchers that are killed, disks that are full or read-only.

Measured by ``kills.py``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from timing.settings import PROJECT

JOB = (
    "run", "--strategy", "frozen", "lora", "last_k", "adaptformer", "--limit-pairs", "20",
    "--image-size", "56", "--set",
    "dataset.categories=[bird, car, chair]", "dataset.images={trn: 6, val: 4, test: 4}",
    "dataset.pairs={trn: 20, val: 8, test: 8}", "training.steps=12", "training.images=3",
    "training.checkpoint_every=2", "training.validate_every=6",
)  # fmt: skip


def saved_steps(folder: Path) -> dict[str, int]:
    """Last step of the state of each run below ``folder/out``."""
    return {
        state.name: max((int(step.name[5:]) for step in state.glob("step-*")), default=0)
        for state in (folder / "out" / "state").glob("[!.]*")
    }


def launchers(folder: Path) -> list[tuple[str, str]]:
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


def disks(folder: Path) -> list[tuple[str, str]]:
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
        saved = saved_steps(small)
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


def markdown(rows: Sequence[tuple[str, str]]) -> str:
    """A table of two columns."""
    return "\n".join(["| what | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)])

"""Two sweeps started at once in one output folder share the work: ``python benchmarks/together.py --times 30``.

Four cells of `tiny` on a small rendering; the two starts are fresh interpreters, the second some random seconds after
the first, with the same cells or with some of them, plain or by workers. Counts cells that were done twice or failed,
and files that are left half written. Then the process that is at a cell is killed, and the time is taken until another
start has taken the cell over. Prints a table.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from kills import leftovers, one_core, results
from mishaps import JOB, markdown
from timing.settings import PROJECT

_RUNNING = re.compile(r"\(([0-9a-f]{16})\): (running|failed)")


def main(arguments: Sequence[str]) -> int:
    """Start, wait, count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--times", type=int, default=30, metavar="N", help="pairs of starts (default: 30)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the delays")
    parsed = parser.parse_args(arguments)
    draw = random.Random(parsed.seed)
    twice = failed = unequal = 0
    left: list[str] = []
    codes: list[int] = []
    with tempfile.TemporaryDirectory(prefix="peftcorr-together-") as work:
        folder = Path(work)
        _wait(_begin(folder / "unbroken", folder / "cache", JOB))
        expected = results(folder / "unbroken")
        assert len(expected) == 4, "the sweep alone did not end well"
        for number in range(parsed.times):
            place = folder / str(number)
            same, workers = number % 2 == 0, ["--workers", "2"] if number % 3 == 0 else []
            other = JOB if same else [word for word in JOB if word not in ("frozen", "lora")]
            first = _begin(place, folder / "cache", [*JOB, *workers])
            time.sleep(draw.uniform(0, 3))
            second = _begin(place, folder / "cache", [*other, *workers])
            starts = [_wait(first), _wait(second)]
            codes += [code for _, code in starts]
            logs = [path.read_text(encoding="utf-8") for path in (place / "out" / "logs").glob("*.log")]
            begun = [
                found for text in [*(out for out, _ in starts), *logs] for found in _RUNNING.findall(text)
            ]
            ran = [run for run, what in begun if what == "running"]
            twice += len(ran) - len(set(ran))
            failed += sum(what == "failed" for _, what in begun)
            unequal += results(place) != expected
            left += leftovers(place)
            print(
                f"{number + 1}: {twice} twice, {failed} failed, {unequal} unequal, {len(left)} left",
                flush=True,
            )
        seconds = _taken_over(folder / "taken", folder / "cache")
    rows = [
        ("pairs of sweeps on one output", str(parsed.times)),
        ("cells done twice", str(twice)),
        ("cells that failed", str(failed)),
        ("outputs that differ from one sweep's", str(unequal)),
        ("half files and leases left", str(len(left))),
        ("exit codes other than 0", str(sum(map(bool, codes)))),
        ("SIGKILL of a cell's process, until another start was at it", f"{seconds:.1f} s"),
    ]
    print(markdown(rows))
    return int(bool(twice or failed or unequal or left or any(codes)))


def _begin(place: Path, cache: Path, job: Sequence[str]) -> subprocess.Popen[str]:
    place.mkdir(exist_ok=True)
    environment = {
        "PEFTCORR_CACHE": str(cache),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
        "PYTHONUNBUFFERED": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "peftcorr.cli", job[0], "--output", str(place / "out"), *job[1:]],
        env={**os.environ, **environment}, cwd=PROJECT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        preexec_fn=one_core,
    )  # fmt: skip


def _wait(process: subprocess.Popen[str]) -> tuple[str, int]:
    out, _ = process.communicate()
    return out, process.returncode


def _taken_over(place: Path, cache: Path) -> float:
    """Seconds from the death of a cell's process to the line of another start that it is running it."""
    job = [word for word in JOB if word not in ("frozen", "last_k", "adaptformer")]
    job = [*job, "training.steps=100000"]
    first = _begin(place, cache, job)
    while not list(place.glob("out/state/*/step-*")):
        time.sleep(0.1)
    second = _begin(place, cache, job)
    assert second.stdout is not None
    for line in second.stdout:
        if "another process is at it" in line:
            break
    first.kill()
    begun = time.monotonic()
    for line in second.stdout:
        if "running" in line:
            break
    seconds = time.monotonic() - begun
    for process in (first, second):
        process.kill()
        process.communicate()
    return seconds


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

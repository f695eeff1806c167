"""A job's process as a scheduler's process has it: its share, its signals, its end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from peftcorr.machine.processors import SHARE, processors
from peftcorr.sweep.launchers.process import JobProcess, command, environment

HEARS = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("saved", flush=True), sys.exit(143)))
print("begun", os.environ["PEFTCORR_DRIVER"], os.environ.get("RANK"), flush=True)
time.sleep(60)
"""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Starts Python with a text in place of a job; what it prints goes into ``logs/log``."""
    found = []

    def start(text: str, deaf: signal.Signals | None = None) -> JobProcess:
        monkeypatch.setattr("peftcorr.sweep.launchers.process.command", lambda file, processes: ["-c", text])
        found.append(JobProcess(tmp_path / "job.json", tmp_path / "logs" / "log", 1, 1, deaf))
        return found[-1]

    yield start
    for process in found:
        process.kill()


def wait_for_line(log: Path, line: str) -> None:
    until = time.monotonic() + 30
    while line not in log.read_text():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("raise SystemExit(7)", 7),
        ("pass", 0),
        ("import os; os.kill(os.getpid(), 9)", -9),
        ("raise SystemExit(143)", 143),
    ],
)
def test_an_end_of_its_own(started, text: str, code: int) -> None:  # type: ignore[no-untyped-def]
    process = started(text)
    assert process.wait(30) == code
    assert process.code() == code, "it can be asked again"
    assert process.was_stopped() == (code == 143)


def test_it_is_told_to_end_and_says_what_it_prints(started, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("RANK", "3")
    log = tmp_path / "logs" / "log"
    process = started(HEARS, signal.SIGUSR2)
    assert process.wait(0.3) is None
    assert not process.was_stopped()
    wait_for_line(log, "begun")
    os.kill(process._process.pid, signal.SIGUSR2)  # meant for the process above it alone
    process.stop()
    assert process.wait(30) == 143
    assert process.was_stopped()
    assert log.read_text() == f"begun {os.getpid()} None\nsaved\n"


def test_a_launcher_of_several_processes_ends_with_1_when_told_to(started) -> None:  # type: ignore[no-untyped-def]
    process = started("import signal, sys, time; signal.signal(15, lambda *_: sys.exit(1)); time.sleep(60)")
    time.sleep(0.5)
    process.stop()
    assert process.wait(30) in (1, -15)
    assert process.was_stopped()


def test_the_share_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    given = environment(1, 6, 2)
    assert (given[SHARE], given["OMP_NUM_THREADS"]) == ("6", "3")
    for text, expected in (("", 8), ("6", 6), ("64", 8), ("0", 1)):
        monkeypatch.setenv(SHARE, text)
        assert processors() == expected


def test_the_command_of_several_processes() -> None:
    own = ["-m", "peftcorr.cli", "run", "--job", "f.json"]
    assert command("f.json", 1) == own
    assert command("f.json", 3)[-len(own) - 2 :] == ["--nproc_per_node", "3", *own]

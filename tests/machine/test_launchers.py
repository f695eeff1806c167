"""Processes that end with those that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from peftcorr.machine import launchers
from peftcorr.machine.launchers import _asked, _torch_options, respawn

RANK = """
import os, signal, sys, time
from peftcorr.machine import launchers
launchers._GRACE = 0.5
if sys.argv[1] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
launchers.end_with_launchers()
print(os.getpid(), flush=True)
time.sleep(600)
"""
LAUNCHER = """
import subprocess, sys
subprocess.run([sys.executable, *sys.argv[1:]])
"""
POOL = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from peftcorr.machine.launchers import end_with_parent
if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=end_with_parent)
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(600)
"""


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def wait_for(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()


def start(tmp_path: Path, *names: str, ears: str = "hears") -> tuple[list[int], int]:
    """Launchers, each started by the one before it, and a process of a run started by the last."""
    (tmp_path / "rank.py").write_text(RANK)
    words: list[str] = []
    for name in names:
        (tmp_path / name).write_text(LAUNCHER)
        words.append(str(tmp_path / name))
    process = subprocess.Popen(
        [sys.executable, *words[:1], *words[1:], str(tmp_path / "rank.py"), ears],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    rank = int(process.stdout.readline())
    chain = [one.pid for one in psutil.Process(rank).parents()]
    return chain[: chain.index(process.pid) + 1], rank


@pytest.mark.parametrize("ears", ["hears", "deaf"])
def test_a_process_ends_with_its_launcher(tmp_path: Path, ears: str) -> None:
    [launcher], rank = start(tmp_path, "torchrun", ears=ears)
    os.kill(launcher, signal.SIGKILL)
    assert wait_for(lambda: gone(rank))


def test_a_process_ends_with_the_launcher_of_its_launcher(tmp_path: Path) -> None:
    [agent, launcher], rank = start(tmp_path, "accelerate", "torchrun")
    os.kill(launcher, signal.SIGKILL)
    assert wait_for(lambda: gone(rank))
    assert wait_for(lambda: gone(agent))


def test_a_process_goes_on_without_a_shell(tmp_path: Path) -> None:
    [shell], rank = start(tmp_path, "shell.py")
    try:
        os.kill(shell, signal.SIGKILL)
        time.sleep(3 * launchers._LOOK_EVERY)
        assert not gone(rank)
    finally:
        os.kill(rank, signal.SIGKILL)


def test_a_worker_ends_with_what_started_it(tmp_path: Path) -> None:
    (tmp_path / "pool.py").write_text(POOL)
    process = subprocess.Popen([sys.executable, tmp_path / "pool.py"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    process.kill()
    process.wait()
    assert wait_for(lambda: gone(worker))


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("accelerate launch --cpu --num_processes 2 run.py", "--standalone --nproc_per_node 2"),
        ("accelerate launch --num-processes=4 run.py", "--standalone --nproc_per_node 4"),
        (
            "accelerate launch --num_machines 2 --machine_rank 1 --num_processes 4 run.py",
            "--nnodes 2 --node_rank 1 --master_addr there --master_port 7 --nproc_per_node 2",
        ),
    ],
)
def test_the_launchers_own_command_line_says_how_many(
    monkeypatch: pytest.MonkeyPatch, line: str, options: str
) -> None:
    monkeypatch.setenv("MASTER_ADDR", "there")
    monkeypatch.setenv("MASTER_PORT", "7")
    assert _torch_options(_asked(line.split())) == options.split()


@pytest.mark.parametrize(
    "line", ["accelerate launch run.py --strategy lora", "accelerate launch --num_processes", ""]
)
def test_a_command_line_without_a_number(line: str) -> None:
    assert "num_processes" not in _asked(line.split())


def test_a_plain_process_becomes_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def become(*arguments: object) -> None:
        raise AssertionError("it became another")

    monkeypatch.setattr(os, "execve", become)
    for name in ("MASTER_ADDR", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    respawn(["run"])
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("RANK", "0")
    respawn(["run"])


def test_the_one_process_of_accelerates_launcher_becomes_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[tuple[str, list[str], dict[str, str]]] = []
    line = "python -m accelerate.commands.launch --cpu --num_processes 2 benchmarks/run.py --strategy lora"
    monkeypatch.setattr(os, "execve", lambda *given: became.append(given))
    monkeypatch.setattr(psutil.Process, "cmdline", lambda self: line.split())
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setenv("KEPT", "1")
    respawn(["run", "--strategy", "lora"])
    [(program, words, environment)] = became
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    assert program == sys.executable
    assert words == [*launcher, "-m", "peftcorr.cli", "run", "--strategy", "lora"]
    assert environment == {k: v for k, v in os.environ.items() if k not in ("MASTER_ADDR", "MASTER_PORT")}

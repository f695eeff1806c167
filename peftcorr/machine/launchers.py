"""The processes that a run's process was started by, and is started for: it does not outlive them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from itertools import takewhile
from pathlib import Path

import psutil

from peftcorr.machine.termination import EXIT_CODE

DRIVER = "PEFTCORR_DRIVER"
"""Environment variable with the id of the process that a worker does not outlive."""

_LOOK_EVERY = 0.5  # seconds
_GRACE = 7.0  # seconds to save a state in, after a launcher is gone


def respawn(arguments: list[str]) -> None:
    """Become the launcher of the processes that ``accelerate launch --cpu --num_processes N`` was asked for.

    Without MPI its launcher starts one process whatever N says (accelerate 1.15), leaving only MASTER_ADDR in the
    environment as a sign; N is then read from the launcher's own command line and given to torch's launcher, which
    takes the place of this process. Returns where this process is the one that should do the work.
    """
    if "MASTER_ADDR" not in os.environ or "RANK" in os.environ or "WORLD_SIZE" in os.environ:
        return
    asked = _asked(psutil.Process(os.getppid()).cmdline())
    if asked.get("num_processes", 1) < 2:
        return
    environment = {
        key: value for key, value in os.environ.items() if key not in ("MASTER_ADDR", "MASTER_PORT")
    }
    launcher = [sys.executable, "-m", "torch.distributed.run", *_torch_options(asked)]
    sys.stdout.flush()
    os.execve(sys.executable, [*launcher, "-m", "peftcorr.cli", *arguments], environment)


def _torch_options(asked: dict[str, int]) -> list[str]:
    """What torch's launcher is told instead of Accelerate's."""
    machines, processes = asked.get("num_machines", 1), asked["num_processes"]
    if machines < 2:
        return ["--standalone", "--nproc_per_node", str(processes)]
    return [
        "--nnodes", str(machines), "--node_rank", str(asked.get("machine_rank", 0)),
        "--master_addr", os.environ["MASTER_ADDR"], "--master_port", os.environ.get("MASTER_PORT", "29500"),
        "--nproc_per_node", str(max(1, processes // machines)),
    ]  # fmt: skip


def _asked(command_line: list[str]) -> dict[str, int]:
    """The numbers among a launcher's options, by name."""
    found = {}
    for word, after in zip(command_line, [*command_line[1:], ""], strict=False):
        name, _, value = word.partition("=")
        text = value or after
        if name.startswith("--") and text.isdigit():
            found[name[2:].replace("-", "_")] = int(text)
    return found


def end_with_launchers() -> None:
    """End this process soon after a launcher of it has ended: SIGTERM first, and the end without it a little later.

    Launchers are the nearest ancestors that are Accelerate's or torch's, and of a worker the process that `DRIVER`
    names. A shell is none: what was started from one may go on without it.
    """
    launchers = list(takewhile(_is_launcher, psutil.Process().parents()))
    driver = os.environ.get(DRIVER, "")
    if driver.isdigit():
        try:
            launchers.append(psutil.Process(int(driver)))
        except psutil.NoSuchProcess:
            sys.exit(EXIT_CODE)
    if launchers:
        threading.Thread(target=_outlive, args=(launchers,), name="launchers", daemon=True).start()


def end_with_parent() -> None:
    """End this process, one of `multiprocessing`, as soon as the one that started it has ended."""
    threading.Thread(target=_wait_for_parent, name="parent", daemon=True).start()


def _is_launcher(process: psutil.Process) -> bool:
    try:
        words = process.cmdline()[:5]
    except psutil.Error:
        return False
    return any(
        Path(word).name in ("accelerate", "torchrun")
        or word.startswith(("torch.distributed.", "accelerate."))
        for word in words
    )


def _outlive(launchers: list[psutil.Process]) -> None:
    while all(map(_lives, launchers)):
        time.sleep(_LOOK_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os._exit(EXIT_CODE)  # the main thread waits for a process that is gone, or for a long step


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

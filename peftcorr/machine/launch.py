"""Threads and processes on CPUs, where `accelerate launch` leaves both to the script."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import torch

from peftcorr.machine.processors import processors


def on_cpu() -> bool:
    """Whether this run is on CPUs; said to Accelerate, which else would not join several CPU processes."""
    if not torch.accelerator.is_available():
        os.environ["ACCELERATE_USE_CPU"] = "true"
    return os.environ.get("ACCELERATE_USE_CPU", "false").lower() in ("1", "true", "yes")


def use_all_cores() -> None:
    """Give each process of this machine its share of the cores.

    ``accelerate launch`` sets OMP_NUM_THREADS to 1 where it sees no GPU, which halves the speed of two cores.
    """
    if not torch.cuda.is_available():
        torch.set_num_threads(max(1, processors() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def respawn(arguments: list[str]) -> int | None:
    """Start the processes that ``accelerate launch --cpu --num_processes N`` was asked for.

    Without MPI its launcher starts one process whatever N says (accelerate 1.15), leaving only MASTER_ADDR in the
    environment as a sign; N is then read from the launcher's own command line and given to torch's launcher.

    Returns:
        The exit code of the processes, or None where this process is the one that should do the work.
    """
    if "MASTER_ADDR" not in os.environ or "RANK" in os.environ or "WORLD_SIZE" in os.environ:
        return None
    asked = _asked_processes(psutil.Process(os.getppid()).cmdline())
    if asked < 2:
        return None
    environment = {
        key: value for key, value in os.environ.items() if key not in ("MASTER_ADDR", "MASTER_PORT")
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(asked)]
    return subprocess.call([*command, "-m", "peftcorr.cli", *arguments], env=environment)


def _asked_processes(command_line: list[str]) -> int:
    for index, word in enumerate(command_line):
        name, _, value = word.partition("=")
        if name in ("--num_processes", "--num-processes"):
            text = value or (command_line[index + 1] if index + 1 < len(command_line) else "")
            return int(text) if text.isdigit() else 1
    return 1

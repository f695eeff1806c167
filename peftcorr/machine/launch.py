"""Device and threads on CPUs, where `accelerate launch` leaves both to the script."""

from __future__ import annotations

import os

import torch

from peftcorr.machine.processors import share_of_processors


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
        torch.set_num_threads(share_of_processors())

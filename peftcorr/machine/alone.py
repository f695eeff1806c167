"""One process by itself, where a run would have an Accelerator: a library joins no launch of its caller."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from peftcorr.errors import PeftCorrError, reason, shown


@dataclass(frozen=True)
class Alone:
    """What an evaluation asks an Accelerator for.

    Attributes:
        device: where it computes.
    """

    device: torch.device
    process_index: int = 0
    num_processes: int = 1


def chosen_device(name: str | torch.device | None) -> torch.device:
    """The device of that name; without one the accelerator that is there, else the CPU.

    Raises:
        PeftCorrError: if there is no such device.
    """
    if name is None:
        on_cpu = os.environ.get("ACCELERATE_USE_CPU", "false").lower() in ("1", "true", "yes")
        return torch.device("cpu") if on_cpu else (_accelerator() or torch.device("cpu"))
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise PeftCorrError(
            f"There is no device {shown(str(name))} here ({reason(error)}): leave it out, or choose 'cpu'."
        ) from error
    return device


def _accelerator() -> torch.device | None:
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None

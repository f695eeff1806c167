"""What a device can do."""

from __future__ import annotations

import torch


def has_float64(device: torch.device) -> bool:
    """Whether a device computes in float64; Apple's does not."""
    return device.type != "mps"

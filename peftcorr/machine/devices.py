"""What a device can do, which devices there are, and how exactly they compute."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch


def has_float64(device: torch.device) -> bool:
    """Whether a device computes in float64; Apple's does not."""
    return device.type != "mps"


@contextmanager
def rounding(tf32: bool) -> Iterator[None]:
    """Have NVIDIA's GPUs multiply float32 by TF32, ten bits of precision, or by none of it, in the block.

    torch by itself rounds convolutions so, and matrix products not.
    """
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = tf32
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def precision_flags() -> dict[str, bool]:
    """What torch is told about precision where a run does not say otherwise."""
    return {
        "matmul_tf32": torch.backends.cuda.matmul.allow_tf32,
        "convolution_tf32": torch.backends.cudnn.allow_tf32,
        "bf16_reduction": torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
    }


def device_name(device: torch.device) -> str:
    """What a device is called: the GPU's own name, else its kind."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def driver_version() -> str | None:
    """The newest CUDA that the installed driver supports, such as ``13.0``; None where there is no driver."""
    version = ctypes.c_int()
    for name in ("libcuda.so.1", "nvcuda.dll"):
        with suppress(OSError):
            if ctypes.CDLL(name).cuDriverGetVersion(ctypes.byref(version)) == 0:
                return f"{version.value // 1000}.{version.value % 1000 // 10}"
    return None

"""What a device can do, and flags that are put back."""

from __future__ import annotations

import pytest
import torch

from peftcorr.features.encode import autocast
from peftcorr.machine.devices import device_name, driver_version, has_float64, precision_flags, rounding


def test_apples_devices_have_no_float64() -> None:
    assert not has_float64(torch.device("mps"))
    assert has_float64(torch.device("cpu"))
    assert has_float64(torch.device("cuda", 1))


@pytest.mark.parametrize(("precision", "rounded"), [("fp32", False), ("tf32", True)])
def test_precisions_hold_in_the_block_alone(precision: str, rounded: bool) -> None:
    before = precision_flags()
    with autocast(precision, torch.device("cuda"))():
        assert torch.backends.cuda.matmul.allow_tf32 is rounded
        assert torch.backends.cudnn.allow_tf32 is rounded
    assert precision_flags() == before
    with autocast(precision, torch.device("cpu"))():
        assert precision_flags() == before


def test_flags_are_put_back_after_an_error() -> None:
    before = precision_flags()
    with pytest.raises(ValueError, match="x"), rounding(tf32=True):
        raise ValueError("x")
    assert precision_flags() == before


def test_devices_are_named() -> None:
    assert device_name(torch.device("cpu")) == "cpu"
    version = driver_version()
    assert version is None or version.replace(".", "").isdigit()

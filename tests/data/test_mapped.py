from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from peftcorr.data import correspondences as module
from peftcorr.data.layouts.spair import SpairFolder
from peftcorr.data.mapped import MappedArrays, return_freed_memory, returnable_memory
from peftcorr.errors import PeftCorrError


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * mmap.PAGESIZE


def test_values_outlive_a_rest() -> None:
    arrays = MappedArrays(least=1)
    points = np.random.default_rng(0).normal(size=(1000, 2))
    kept = arrays.keep(points)
    made = arrays.zeros((3, 5), np.int32)
    assert (kept.dtype, made.dtype) == (np.float64, np.int32)
    assert not made.any()
    made[1] = 7
    arrays.rest()
    np.testing.assert_array_equal(kept, points)
    assert made.sum() == 35
    kept[0] = 0.0
    assert points[0].all()  # a copy


def test_arrays_outlive_what_made_them() -> None:
    kept = MappedArrays(least=1).keep(np.arange(1000))
    assert kept.sum() == 499500


def test_short_arrays_take_no_file() -> None:
    arrays = MappedArrays(least=801)
    short = np.arange(100)
    assert arrays.keep(short) is short
    assert arrays.zeros((100,), np.float64).nbytes == 800
    assert arrays.zeros((0, 2), np.float64).shape == (0, 2)
    assert len(arrays) == 0
    arrays.keep(np.arange(101))
    assert len(arrays) == 1


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc, on Linux"
)
def test_resting_arrays_leave_memory() -> None:
    arrays = MappedArrays()
    size = 64 << 20
    before = resident()
    made = arrays.zeros((size,), np.uint8)
    made[:] = 1
    touched = resident()
    arrays.rest()
    assert touched - before > size // 2
    assert resident() - before < size // 4
    assert made.sum(dtype=np.int64) == size


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="room on the disk cannot be reserved here")
def test_full_disk_is_an_error_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, start: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(PeftCorrError, match=r"No space left on device\): 8,000 bytes more .* TMPDIR"):
        MappedArrays(least=1).zeros((1000,), np.float64)


def test_without_glibc_nothing_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    return_freed_memory()
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    return_freed_memory()


def test_arrow_takes_memory_from_the_c_library_in_the_block_alone() -> None:
    system, usual = pa.system_memory_pool(), pa.default_memory_pool().backend_name
    before = system.bytes_allocated()
    with returnable_memory():
        doubled = pc.add(pa.array(range(100_000)), 1)
        assert system.bytes_allocated() - before >= doubled.nbytes
    assert pa.default_memory_pool().backend_name == usual


def test_arrow_has_its_allocator_back_after_an_error() -> None:
    usual = pa.default_memory_pool().backend_name
    with pytest.raises(PeftCorrError), returnable_memory():
        raise PeftCorrError("no room")
    assert pa.default_memory_pool().backend_name == usual


def test_a_split_is_flattened_in_memory_that_can_be_given_back(
    spair_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocators: list[str] = []
    points = module._points

    def seen(table: pa.Table, name: str) -> np.ndarray:
        allocators.append(pa.default_memory_pool().backend_name)
        return points(table, name)

    monkeypatch.setattr(module, "_points", seen)
    source = SpairFolder(SpairFolder.Config(), spair_root, tmp_path / "cache")
    module.correspondences(source.load("test"))
    assert set(allocators) == {"system"}

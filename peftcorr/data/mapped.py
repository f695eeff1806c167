"""Long arrays in a temporary file: what grows with the number of pairs need not stay in memory."""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray

from peftcorr.errors import PeftCorrError

_LEAST = 1 << 20  # bytes; what is shorter is not worth a file


class MappedArrays:
    """Arrays that are read and written like any other, and leave memory when they are told to rest.

    Each is a shared mapping of a temporary file that no folder lists. Resting it gives its pages back to the
    operating system, which has them in its file cache, or on the disk when it needs the room; touching them brings
    them back. Room on the disk is reserved first: a full disk is then an error and not a killed process.

    Args:
        least: arrays of fewer bytes stay in memory; by default 1 MiB.
    """

    def __init__(self, least: int | None = None):
        self._least = _LEAST if least is None else least
        self._mappings: list[mmap.mmap] = []

    def __len__(self) -> int:
        return len(self._mappings)

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """A new array.

        Raises:
            PeftCorrError: if the temporary folder has no room.
        """
        length = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if length < self._least:
            return np.zeros(shape, dtype)
        try:
            with tempfile.TemporaryFile(prefix="peftcorr-arrays-") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, length)
                else:
                    file.truncate(length)
                mapping = mmap.mmap(file.fileno(), length)
        except OSError as error:
            raise PeftCorrError(
                f"No room in {tempfile.gettempdir()} for the arrays of a dataset ({error.strerror or error}): "
                f"{length:,} bytes more are needed; free some space, or set TMPDIR to another disk."
            ) from error
        self._mappings.append(mapping)
        return np.frombuffer(mapping, dtype).reshape(shape)

    def keep(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array itself if it is short, else a copy of it in a file; drop the first one then.

        Raises:
            PeftCorrError: as `zeros`.
        """
        if array.nbytes < self._least:
            return array
        kept = self.zeros(array.shape, array.dtype)
        kept[...] = array
        return kept

    def rest(self) -> None:
        """Give the memory of all arrays back, where the operating system can."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for mapping in self._mappings:
                mapping.madvise(mmap.MADV_DONTNEED)


@contextmanager
def returnable_memory() -> Iterator[None]:
    """Let Arrow take memory from the C library in the block, for `return_freed_memory` to reach what it frees.

    Arrow's own allocators keep pages that they once had.
    """
    usual = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(usual)


def return_freed_memory() -> None:
    """Give back what the C library holds of memory that was freed, where it can be told to."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # not glibc
        return
    trim(0)

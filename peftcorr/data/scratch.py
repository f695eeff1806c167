"""Rows of one shape in a temporary file that no folder lists: large, bounded by disk and gone after a crash."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import IO

import numpy as np
import torch
from torch import Tensor

from peftcorr.errors import PeftCorrError

PREFIX = "peftcorr-rows-"
"""What the names of such files begin with, as long as they have one."""


class ScratchRows:
    """A growing (N, *row) tensor on disk.

    The file is written and read by position, not mapped: a full disk is then an error and not a killed process.

    Args:
        what: named in the error when the disk is full.
        file: open for reading and writing, where it is not to be one of its own.

    Raises:
        PeftCorrError: if there is no temporary folder.
    """

    def __init__(self, what: str, file: IO[bytes] | None = None):
        self._what = what
        try:
            self._file = file or tempfile.TemporaryFile(prefix=PREFIX)  # noqa: SIM115
        except OSError as error:
            raise PeftCorrError(
                f"Cannot keep {what} in {tempfile.gettempdir()} ({error.strerror}): set TMPDIR to another folder."
            ) from error
        self._row: torch.Size = torch.Size()
        self._dtype = torch.float32
        self._bytes = 0
        self._count = 0

    @classmethod
    def common(
        cls, what: str, file: IO[bytes], rows: int, row: Sequence[int], dtype: torch.dtype
    ) -> ScratchRows:
        """So many rows that several processes write, each its own, into a file that all of them have open."""
        made = cls(what, file)
        made._row, made._dtype, made._count = torch.Size(row), dtype, rows
        made._bytes = made._row.numel() * dtype.itemsize
        return made

    def __len__(self) -> int:
        return self._count

    def write(self, number: int, rows: Tensor) -> None:
        """Write rows (n, *row), all of one shape and dtype, over those from `number` on, or behind the last.

        Raises:
            PeftCorrError: if the temporary folder has no room.
        """
        if self._count == 0:
            self._row, self._dtype = rows.shape[1:], rows.dtype
            self._bytes = rows[0].numel() * rows.element_size()
        assert rows.shape[1:] == self._row
        assert rows.dtype == self._dtype
        assert number <= self._count
        raw = rows.cpu().contiguous().view(torch.uint8).numpy().reshape(-1).data
        start = number * self._bytes
        written = 0
        try:
            while written < len(raw):
                written += os.pwrite(self._file.fileno(), raw[written:], start + written)
        except OSError as error:
            raise PeftCorrError(
                f"No room in {tempfile.gettempdir()} for {self._what} ({error.strerror}): {len(rows)} more need "
                f"{len(raw):,} bytes; free some space, or set TMPDIR to another disk."
            ) from error
        self._count = max(self._count, number + len(rows))

    def read(self, numbers: Sequence[int]) -> Tensor:
        """Rows (len(numbers), *row) on the CPU."""
        raw = np.empty((len(numbers), self._bytes), dtype=np.uint8)
        for place, number in enumerate(numbers):
            raw[place] = np.frombuffer(
                os.pread(self._file.fileno(), self._bytes, number * self._bytes), np.uint8
            )
        return torch.from_numpy(raw).view(self._dtype).view(len(numbers), *self._row)

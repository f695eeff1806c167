"""A claim: a file that says somebody is at work on something, for as long as that process lives, however it ends."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # no such locks on this system: every claim is granted
    fcntl = None  # type: ignore[assignment]

_LOOKS = 0.05  # seconds in which a look into a file is over


class Claim:
    """An exclusive lock on a file of its own, which is deleted when the claim is given back.

    The system lets go of the lock when the process ends. On a file system without locks every claim is granted, and
    nobody is known to be dead.

    Args:
        path: of the lock file; its folder exists.

    Attributes:
        told: whether there are locks, so that a claim that is granted is one.
        made: whether the file is one that this claim made: nobody else's is in it.
    """

    def __init__(self, path: Path):
        self._path = path
        self._descriptor: int | None = None
        self.told = True
        self.made = False

    def take(self) -> bool:
        """Whether the claim is ours now; it is not while another process, or thread, has it.

        Raises:
            OSError: if the file cannot be made.
        """
        self.made = False
        while True:
            descriptor, new = self._open()
            self.made |= new
            try:
                if fcntl is None:
                    self.told = False
                else:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                if new:  # somebody looks into a file of which nobody knows yet whose it is
                    time.sleep(_LOOKS)
                    continue
                return False
            except OSError:
                self.told = False
            # Whoever had it before may have deleted the file that we opened.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), self._path.stat()):
                    self._descriptor = descriptor
                    return True
            os.close(descriptor)

    def _open(self) -> tuple[int, bool]:
        """Descriptor of the file, and whether it is new."""
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            return os.open(self._path, flags | os.O_CREAT | os.O_EXCL, 0o644), True
        except FileExistsError:
            pass
        try:
            return os.open(self._path, flags), False
        except FileNotFoundError:  # deleted in between
            return os.open(self._path, flags | os.O_CREAT, 0o644), True

    def give_back(self) -> None:
        """Delete the file and let go of the lock."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

"""A lease: a claim that says who has it and how far the work is, and that other machines believe too."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peftcorr.machine.claim import Claim

BEAT = 5.0  # seconds between signs of life
EXPIRES = 40.0  # seconds without one, after which a process of another machine counts as dead
_SETTLES = 0.3  # seconds in which two processes see each other's name where there are no locks
_LARGEST = 4_096  # bytes of a file
_LETTERS = 200  # of a text in it


@dataclass(frozen=True)
class Holder:
    """Who has a lease, and how far the work is.

    Attributes:
        host: name of the machine.
        process: its id there.
        since: seconds since 1970.
        what: what is under way; empty where nothing was told.
        done: how much of it, of `total`.
        total: of `done`.
        note: the loss, say.
        began: seconds since 1970 at which `what` began, and
        begun: how much of it was done then.
    """

    host: str
    process: int
    since: float
    what: str = ""
    done: int = 0
    total: int = 0
    note: str = ""
    began: float = 0.0
    begun: int = 0

    def seconds_left(self, now: float) -> float | None:
        """Of what is under way, at its pace so far; None as long as nobody can tell."""
        gained = self.done - self.begun
        return (now - self.began) / gained * (self.total - self.done) if gained > 0 and self.total else None


class Lease(Claim):
    """An exclusive lock with its holder's name in the file.

    Where locks do not reach from one machine to another, or there are none, the file's date counts, which the holder
    renews every `BEAT` seconds: a holder of another machine that has not for `EXPIRES` seconds is dead, and so is one
    whose name cannot be read.

    Args:
        path: of the file; its folder exists.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        self._own = Holder(socket.gethostname(), os.getpid(), time.time())
        self._ended = threading.Event()
        self._writing = threading.Lock()
        self._written = 0.0

    def take(self) -> bool:
        """See `Claim.take`."""
        if not super().take():
            return False
        assert self._descriptor is not None
        other = _read(self._descriptor)
        # A file that cannot be read is being written just now, perhaps on a machine that our locks do not reach.
        ours = self.made if other is None else self.told and other.host == self._own.host
        if not ours and self._age(self._descriptor) < EXPIRES:
            self._let_go()
            return False
        self._write()
        if not self.told:  # nothing but the name tells two apart that came at once
            time.sleep(_SETTLES)
            if holder(self._path) != self._own:
                self._let_go()
                return False
        self._ended = threading.Event()
        threading.Thread(target=self._beat, args=(self._ended,), name="lease", daemon=True).start()
        return True

    def tell(self, what: str, done: int, total: int, note: str) -> None:
        """Say how far the work is, to whoever looks (`holder`)."""
        own, what = self._own, what[:_LETTERS]
        began, begun = (own.began, own.begun) if own.what == what else (time.time(), done)
        self._own = Holder(own.host, own.process, own.since, what, done, total, note[:_LETTERS], began, begun)
        if time.monotonic() - self._written > 1:
            self._renew()

    def give_back(self) -> None:
        """See `Claim.give_back`; a file that is another's by now is left to it."""
        self._ended.set()
        with self._writing:
            if self._descriptor is not None and not self._is_ours():
                self._let_go()
            super().give_back()

    def _is_ours(self) -> bool:
        """Whether nobody took the file over, who thought us dead."""
        found = holder(self._path)
        if found is None:  # a full disk lets us write nothing; else somebody else writes just now
            return not self._written
        return (found.host, found.process, found.since) == (
            self._own.host,
            self._own.process,
            self._own.since,
        )

    def _let_go(self) -> None:
        """Leave the file to the one whose it is."""
        assert self._descriptor is not None
        os.close(self._descriptor)
        self._descriptor = None

    def _age(self, descriptor: int) -> float:
        """Seconds since the last sign of life, by the clock of the disk."""
        with tempfile.TemporaryFile(dir=self._path.parent) as now:
            return os.fstat(now.fileno()).st_mtime - os.fstat(descriptor).st_mtime

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(BEAT):
            self._renew()

    def _renew(self) -> None:
        with self._writing:
            if self._descriptor is None or not self._is_ours():
                return
        self._write()

    def _write(self) -> None:
        text = json.dumps(vars(self._own)).encode()
        with self._writing, suppress(OSError):  # a full disk ends no work
            if self._descriptor is not None:
                os.pwrite(self._descriptor, text, 0)
                os.ftruncate(self._descriptor, len(text))
                self._written = time.monotonic()


def holder(path: Path) -> Holder | None:
    """Who has the lease in a file; None if nobody, or it is being written just now."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None
    try:
        return _read(descriptor)
    finally:
        os.close(descriptor)


def living(path: Path) -> Holder | None:
    """Who has the lease in a file and lives; what a dead one left is removed."""
    found = holder(path)
    lease = Lease(path)
    with suppress(OSError):
        if path.is_file() and not lease.take():
            return found or Holder("", 0, 0.0)
    lease.give_back()
    return None


def _read(descriptor: int) -> Holder | None:
    try:
        found: dict[str, Any] = json.loads(os.pread(descriptor, _LARGEST, 0))
        return Holder(**found)
    except (OSError, ValueError, TypeError):
        return None

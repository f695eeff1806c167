"""SIGTERM: what is under way comes to a state that can be kept, then the process ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM


class Terminated(BaseException):
    """SIGTERM came. The text says what a later start finds saved. No error: nothing that catches those catches it."""


class _State:
    asked = False
    held = 0


def asked() -> bool:
    """Whether SIGTERM has come."""
    return _State.asked


@contextmanager
def listening() -> Iterator[None]:
    """Raise `Terminated` in the block when SIGTERM comes; a second one changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _State.asked = False


@contextmanager
def held() -> Iterator[None]:
    """Let SIGTERM wait for the end of the block, which must not be left half done.

    Raises:
        Terminated: at the end of the block, or of the outermost one, if SIGTERM has come.
    """
    _State.held += 1
    try:
        yield
    finally:
        _State.held -= 1
    if _State.asked and not _State.held:
        raise Terminated


def _hear(number: int, frame: FrameType | None) -> None:
    if not _State.asked:
        _State.asked = True
        if not _State.held:
            raise Terminated

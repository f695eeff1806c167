"""Processes of the command line, forked from one that has imported everything: nobody waits for torch again.

Such a process has arguments, environment, folder, output, signals and an end of its own, and what it registers. What a
library says or does while it is imported is not seen here: a test of that starts Python anew.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")

_PRELOAD = ["peftcorr.cli", "peftcorr.pipeline", "peftcorr.sweep.job", "peftcorr.report.compile", "datasets"]


class Forked:
    """A process of ``peftcorr *arguments``.

    Args:
        arguments: of the command line.
        environment: all of it.
        folder: the current one.
        unread: whether its output is a pipe that nobody reads any more.
    """

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, unread: bool = False
    ):
        self._arguments = list(arguments)
        self._printed = tempfile.TemporaryDirectory(prefix="peftcorr-tests-")
        self._out, self._err = (Path(self._printed.name) / name for name in ("out", "err"))
        out = None if unread else self._out
        self._process = _context(environment).Process(
            target=_be, args=(self._arguments, dict(environment), folder, out, self._err)
        )
        self._process.start()

    def communicate(self, timeout: float) -> subprocess.CompletedProcess[str]:
        """Wait for its end; a process that takes longer is killed.

        Raises:
            subprocess.TimeoutExpired: if it took longer.
        """
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            self._process.join()
        with self._printed:
            out, err = (
                path.read_text(encoding="utf-8") if path.exists() else "" for path in (self._out, self._err)
            )
        if code is None:
            raise subprocess.TimeoutExpired(self._arguments, timeout, out, err)
        return subprocess.CompletedProcess(self._arguments, code, out, err)


def in_another_process(function: Callable[[], T]) -> T:
    """What a function of a module gives in such a process."""
    with ProcessPoolExecutor(1, mp_context=_context(os.environ)) as pool:
        return pool.submit(function).result()


def _context(environment: Mapping[str, str]) -> ForkServerContext:
    """What starts processes; that which they are forked from sees the environment once, while it imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - environment.keys():
            patch.delenv(name)
        for name, value in environment.items():
            if name != "PYTHONPATH":
                patch.setenv(name, value)
        forkserver.ensure_running()
    return context


def _be(arguments: list[str], environment: dict[str, str], folder: Path, out: Path | None, err: Path) -> None:
    for number, path in ((1, out), (2, err)):
        if path is None:
            reader, own = os.pipe()
            os.close(reader)
        else:
            own = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(own, number)
        os.close(own)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    os.chdir(folder)
    sys.argv = ["peftcorr", *arguments]
    import_module("peftcorr.cli").console()

"""Runs tests against a changed module, each time in a child of this process, which has imported the libraries."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

LEAST_SECONDS = 10.0  # that a test may take, whatever it took before

Outcome = Literal["killed", "out of time", "survived"]


@dataclass(frozen=True)
class Tried:
    """What tests said of a mutant.

    Attributes:
        tests: how many were run.
        test: the one that failed; "" where the module cannot even be imported, or none failed.
    """

    outcome: Outcome
    tests: int
    test: str


class Trials:
    """Runs tests in the copy of the project at `tree`; this process never imports peftcorr itself."""

    def __init__(self, tree: Path, folder: Path):
        self._tree, self._folder = tree.resolve(), folder.resolve()
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # a mutant of the same length, made in the same second
        os.environ["PYTHONPATH"] = str(self._tree)
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        sys.path.insert(0, str(self._tree))
        for name in json.loads(self._child(self._libraries, 600)[1] or "[]"):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
        gc.collect()
        gc.freeze()  # or every child looks through all that was imported, several times

    def tests(self) -> list[str]:
        """Every test there is."""
        found: list[str] = json.loads(self._child(self._collect, 600)[1] or "[]")
        return found

    def run(self, tests: list[str], seconds: dict[str, float], all_of_them: bool = False) -> list[Tried]:
        """Run tests one after another until one fails, or all of them.

        Args:
            tests: in the order in which they are run.
            seconds: that each is known to take; one that takes far longer hangs.
            all_of_them: go on after a failure.

        Returns:
            each failure; if there is none, that there is none.
        """

        def child(out: Path) -> None:
            options = [
                "-q",
                "-o",
                "addopts=--import-mode=importlib",
                "-p",
                "no:cacheprovider",
            ]
            options += ["--basetemp", str(self._folder / "tmp"), *([] if all_of_them else ["-x"])]
            files = dict.fromkeys(test.partition("::")[0] for test in tests)
            chosen = _Chosen(tests, seconds, out)
            if pytest.main([*options, *files], plugins=[chosen]) == pytest.ExitCode.USAGE_ERROR:
                chosen.write(failed="")  # not even a conftest.py can be imported

        limit = 300 + 10 * sum(seconds.get(test, 1.0) for test in tests)
        code, written = self._child(child, limit)
        told = [json.loads(line) for line in written.splitlines()]
        ran = sum(1 for line in told if "begun" in line)
        failures = [Tried("killed", ran, line["failed"]) for line in told if "failed" in line]
        if code != 0:  # by its timer, by our clock, or by what the mutant did to the process
            failures.append(Tried("out of time", ran, told[-1].get("begun", "") if told else ""))
        return failures or [Tried("survived", ran, "")]

    def _child(self, task: object, limit: float) -> tuple[int, str]:
        """Call `task(out)` in a child with a process group of its own; its status, and what it wrote to `out`."""
        assert callable(task)
        out, log = self._folder / "child.out", self._folder / "child.log"
        out.write_bytes(b"")
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                signal.signal(
                    signal.SIGINT, signal.default_int_handler
                )  # a shell's background jobs ignore it
                file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                for number in (1, 2):
                    os.dup2(file, number)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.chdir(self._tree)
                task(out)
                os._exit(0)
            finally:
                os._exit(1)
        end = time.monotonic() + limit
        done = 0
        while not done and time.monotonic() < end:
            done, status = os.waitpid(pid, os.WNOHANG)
            time.sleep(0 if done else 0.05)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        return status if done else 1, out.read_text(encoding="utf-8")

    def _libraries(self, out: Path) -> None:
        for path in sorted((self._tree / "peftcorr").rglob("*.py")):
            name = ".".join(path.relative_to(self._tree).with_suffix("").parts)
            with contextlib.suppress(Exception, SystemExit):
                importlib.import_module(name.removesuffix(".__init__"))
        names = [name for name in sys.modules if name.partition(".")[0] not in ("peftcorr", "__main__")]
        out.write_text(json.dumps(names), encoding="utf-8")

    def _collect(self, out: Path) -> None:
        class Names:
            @staticmethod
            def pytest_collection_finish(session: pytest.Session) -> None:
                out.write_text(json.dumps([item.nodeid for item in session.items]), encoding="utf-8")

        options = ["--collect-only", "-q", "-o", "addopts=--import-mode=importlib", "-p", "no:cacheprovider"]
        pytest.main([*options, "tests"], plugins=[Names()])


class _Chosen:
    """Keeps some tests of the files collected, in the order given, and writes what becomes of them."""

    def __init__(self, tests: list[str], seconds: dict[str, float], out: Path):
        self._order = {test: number for number, test in enumerate(tests)}
        self._seconds, self._out = seconds, out

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        kept = [item for item in items if item.nodeid in self._order]
        items[:] = sorted(kept, key=lambda item: self._order[item.nodeid])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.write(begun=nodeid)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process, whatever it is doing
        # Of its own work, not of the clock: the machine may be busy with other things.
        signal.setitimer(signal.ITIMER_PROF, LEAST_SECONDS + 5 * self._seconds.get(nodeid, 2.0))

    def pytest_runtest_logfinish(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.write(failed=report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.write(failed="")

    def write(self, **content: str) -> None:
        """Tell the parent something."""
        with self._out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(content) + "\n")

"""Which tests execute a line: one run of the whole suite under coverage, test by test."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from difflib import SequenceMatcher
from pathlib import Path

from .drawn import Mutant

# Run in a process of its own. benchmarks/coverage.py hides the library from what pytest imports later.
_SUITE = """
import collections, json, sys
import coverage, coverage.sqldata
tree, out = sys.argv[1:]
measured = coverage.Coverage(data_file=None, source=[tree + "/peftcorr"], config_file=False)
measured.start()
import pytest
seconds, failed = collections.defaultdict(float), []
class Contexts:
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid, location):
        measured.switch_context(nodeid)
    def pytest_runtest_logfinish(self, nodeid, location):
        measured.switch_context("")
    def pytest_runtest_logreport(self, report):
        seconds[report.nodeid] += report.duration
        if report.failed:
            failed.append(report.nodeid)
sys.path.insert(0, tree)
pytest.main(["-q", "-n", "0", "-p", "no:cacheprovider"], plugins=[Contexts()])
measured.stop()
data = measured.get_data()
lines = {path[len(tree) + 1:]: data.contexts_by_lineno(path) for path in data.measured_files()}
with open(out, "w") as file:
    json.dump({"seconds": seconds, "failed": failed, "lines": lines}, file)
"""


class Seen:
    """The map from lines to tests, measured once below `folder` and read again later.

    Args:
        folder: holds `tree`, a copy of the project; the map goes beside it.
    """

    def __init__(self, folder: Path):
        self._folder, self._tree = folder, folder / "tree"
        written = folder.resolve() / "seen.json"
        if not written.is_file():
            print("one run of the whole suite: which test executes which line", flush=True)
            shutil.rmtree(folder / "mapped", ignore_errors=True)
            shutil.copytree(self._tree / "peftcorr", folder / "mapped")
            command = [sys.executable, "-c", _SUITE, str(self._tree.resolve()), str(written)]
            subprocess.run(command, cwd=self._tree, check=True)
        found = json.loads(written.read_text(encoding="utf-8"))
        self.seconds: dict[str, float] = found["seconds"]
        self.failing: set[str] = set(found["failed"])
        self._lines: dict[str, dict[str, list[str]]] = found["lines"]

    def tests(self, mutant: Mutant, known: list[str], budget: float) -> list[str]:
        """Tests that execute what a mutant changes, as many as fit into some seconds.

        Those of the mirrored folder come first, then the shortest. What is executed at import is seen by every test
        that enters the module. Tests of the mirrored folder that the map does not know are added.

        Args:
            known: all tests there are today.
            budget: seconds that they may take.
        """
        seen = self._executing(mutant)
        mirrored = (Path("tests") / Path(mutant.module).relative_to("peftcorr")).parent
        folders = {test.partition("::")[0].rpartition("/")[0] for test in known}
        folder = next(path.as_posix() for path in (mirrored, *mirrored.parents) if path.as_posix() in folders)
        own = f"{mirrored.as_posix()}/test_{Path(mutant.module).stem}"

        def place(test: str) -> tuple[int, float]:
            near = (
                0
                if test.startswith(own)
                else 1
                if test.partition("::")[0].rpartition("/")[0] == folder
                else 2
            )
            return near, self.seconds.get(test, 0.0)

        def new(test: str) -> bool:
            return test not in self.seconds and place(test)[0] < 2

        wanted = [test for test in known if (test in seen or new(test)) and test not in self.failing]
        wanted = wanted or [test for test in known if place(test)[0] < 2 and test not in self.failing]
        chosen: list[str] = []
        total = 0.0
        for test in sorted(wanted, key=place):
            total += self.seconds.get(test, 0.5)
            if total > budget and chosen:
                continue
            chosen.append(test)
        return chosen

    def _executing(self, mutant: Mutant) -> set[str]:
        contexts = self._lines.get(mutant.module, {})
        now = (self._tree / mutant.module).read_text(encoding="utf-8")
        lines = _statement(now, mutant.line)
        then = (self._folder / "mapped" / Path(mutant.module).relative_to("peftcorr")).read_text()
        blocks = SequenceMatcher(
            None, now.splitlines(), then.splitlines(), autojunk=False
        ).get_matching_blocks()
        was = {a + n + 1: b + n + 1 for a, b, size in blocks for n in range(size)}
        tests = {test for line in lines if line in was for test in contexts.get(str(was[line]), [])}
        tests = tests or {test for here in contexts.values() for test in here}
        return tests - {""}


def _statement(source: str, line: int) -> range:
    """Lines of the innermost statement at a line; none where it is executed at import."""
    best, inside = range(line, line + 1), False
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.stmt) or node.end_lineno is None:
            continue
        body: list[ast.stmt] = getattr(node, "body", [])
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            if isinstance(node, ast.FunctionDef) and body[0].lineno <= line <= node.end_lineno:
                inside = True
            continue
        end = body[0].lineno - 1 if body else node.end_lineno
        if node.lineno <= line <= max(end, node.lineno):
            best = range(node.lineno, max(end, node.lineno) + 1)
    return best if inside else range(0)

"""Mutants: what is drawn, which tests meet it, and whether they notice. The tool itself is no part of `dev`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.scripts import script

pytest.importorskip("cosmic_ray", reason="needs the extra `mutation`")

CODE = """\
from __future__ import annotations

LIMIT: int | None = 3


def clipped(value: int | None, low: int = 0) -> int:
    if value is None:
        return low
    return max(
        low,
        value + LIMIT,
    )
"""


@pytest.fixture
def mutants() -> ModuleType:
    return script("mutants")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "peftcorr").mkdir()
    (tmp_path / "peftcorr" / "clip.py").write_text(CODE)
    return tmp_path


def drawn(root: Path, count: int, seed: int = 0) -> list[Any]:
    from mutating.drawn import drawn

    found: list[Any] = drawn(root, ["peftcorr/clip.py"], count, seed)
    return found


def test_only_what_is_evaluated_is_changed(root: Path) -> None:
    every = drawn(root, 10_000)
    assert len({mutant.name for mutant in every}) == len(every) > 15
    assert {mutant.before for mutant in every} == {
        "LIMIT: int | None = 3", "def clipped(value: int | None, low: int = 0) -> int:",
        "if value is None:", "value + LIMIT,",
    }  # fmt: skip
    assert "value - LIMIT," in {mutant.after for mutant in every}
    for mutant in every:
        assert "int | None" in mutant.text
        assert mutant.within == ("" if mutant.line == 3 else "clipped")


def test_a_draw_depends_on_the_seed_and_not_on_other_lines(root: Path) -> None:
    before = [mutant.name for mutant in drawn(root, 8)]
    assert [mutant.name for mutant in drawn(root, 8)] == before
    assert [mutant.name for mutant in drawn(root, 8, seed=1)] != before
    (root / "peftcorr" / "clip.py").write_text(CODE.replace("LIMIT: int", "# A word.\n\nLIMIT: int"))
    assert [mutant.name for mutant in drawn(root, 8)] == before


@pytest.mark.parametrize(
    ("line", "lines"), [(3, range(0)), (6, range(0)), (7, range(7, 8)), (8, range(8, 9)), (11, range(9, 13))]
)
def test_the_statement_of_a_line(line: int, lines: range) -> None:
    """What is executed at import has none: a constant, a default."""
    from mutating.seen import _statement

    assert _statement(CODE, line) == lines


def test_tests_that_execute_the_line_come_mirrored_and_short_ones_first(root: Path, tmp_path: Path) -> None:
    from mutating.seen import Seen

    tree = tmp_path / "tree" / "peftcorr"
    tree.mkdir(parents=True)
    (tree / "clip.py").write_text("\n" + CODE)  # a line more than when the map was made
    (tmp_path / "mapped").mkdir()
    (tmp_path / "mapped" / "clip.py").write_text(CODE)
    seconds = {
        "tests/a/test_x.py::slow": 3.0,
        "tests/a/test_x.py::quick": 1.0,
        "tests/test_clip.py::own": 2.0,
    }
    other = "tests/a/test_x.py::never"
    lines = {"peftcorr/clip.py": {"9": [*seconds], "8": [other], "3": [""]}}
    content = {"seconds": {**seconds, other: 0.1}, "failed": [], "lines": lines}
    (tmp_path / "seen.json").write_text(json.dumps(content))
    [mutant] = [m for m in drawn(tmp_path / "tree", 1000) if m.after == "value - LIMIT,"]
    known = [*seconds, other, "tests/test_clip.py::new", "tests/a/test_y.py::new"]
    seen = Seen(tmp_path)
    assert seen.tests(mutant, known, 60) == [
        "tests/test_clip.py::new", "tests/test_clip.py::own", "tests/a/test_x.py::quick", "tests/a/test_x.py::slow",
    ]  # fmt: skip
    assert seen.tests(mutant, known, 4) == [*seen.tests(mutant, known, 60)[:3]]
    [constant] = [m for m in drawn(tmp_path / "tree", 1000) if m.after.endswith("= 4")]
    assert set(seen.tests(constant, known, 60)) == {*known} - {"tests/a/test_y.py::new"}


def test_the_page_counts_and_names(mutants: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed, late, same, left = drawn(root, 4)
    named = root / "equivalent.yaml"
    entry = {key: getattr(same, key) for key in ("module", "within", "before", "after")}
    named.write_text(json.dumps([{**entry, "reason": "nobody can tell"}]))
    monkeypatch.setattr(mutants, "EQUIVALENT", named)
    outcomes = {killed: "killed", late: "out of time", same: "survived", left: "survived"}
    done = {m.name: {"outcome": outcome, "tests": 3, "test": "t"} for m, outcome in outcomes.items()}
    content = mutants.summary([*outcomes], done, 4, 0)
    assert [content[key] for key in ("killed", "late", "equal", "survived")] == [2, 1, 1, 1]
    assert content["score"] == pytest.approx(200 / 3)
    page = mutants.page(content)
    assert "| `clip.py` | 4 | 2 | 1 | 1 |" in page
    assert "**66.7 %**" in page
    assert page.count("nobody can tell") == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_mutant_is_met_in_a_child(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed, out of time, or not noticed; a module that cannot be imported is killed by all tests at once."""
    from mutating.trial import Trials

    for name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("gc.freeze", lambda: None)
    (root / "tests").mkdir()
    (root / "tests" / "test_arithmetic.py").write_text(
        "def test_right(): assert 1 + 1 == 2\ndef test_wrong(): assert 1 + 1 == 3\n"
        "def test_endless():\n    while True: pass\n"
    )
    (root / "tests" / "test_broken.py").write_text("import nothing_of_the_kind\ndef test_a(): pass\n")
    monkeypatch.setattr(Trials, "_libraries", lambda self, out: out.write_text("[]"))
    (tmp_path / "work").mkdir()
    trials = Trials(root, tmp_path / "work")
    right, wrong, endless = (
        f"tests/test_arithmetic.py::test_{name}" for name in ("right", "wrong", "endless")
    )
    assert {right, wrong, endless} <= set(trials.tests())
    monkeypatch.setattr("mutating.trial.LEAST_SECONDS", 0.3)
    quick = dict.fromkeys((right, wrong, endless), 0.0)

    def outcome(*tests: str) -> tuple[str, int, str]:
        [tried] = trials.run([*tests], quick)
        return tried.outcome, tried.tests, tried.test

    assert outcome(right) == ("survived", 1, "")
    assert outcome(right, wrong, endless) == ("killed", 2, wrong)
    assert outcome(endless, right) == ("out of time", 1, endless)
    assert outcome("tests/test_broken.py::test_a") == ("killed", 0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_mutant_that_waits_for_ever_has_not_survived(tmp_path: Path) -> None:
    """Its timer counts processor time, of which it takes none."""
    import time

    from mutating.trial import Trials

    trials = object.__new__(Trials)
    trials._folder = trials._tree = tmp_path
    assert trials._child(lambda out: time.sleep(60), 0.2)[0] != 0
    assert trials._child(lambda out: out.write_text("done"), 60) == (0, "done")

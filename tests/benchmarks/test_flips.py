"""A small part of the study in benchmarks/flips.py: no flipped bit goes unnoticed, and the study would see one."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from accelerate.state import AcceleratorState, GradientState
from sealing.kinds import Kind

from tests.scripts import script as load_script

FLIPS = 65


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("flips")


@pytest.fixture(scope="module")
def found(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    gc.freeze()  # Accelerate collects garbage after every training; what was imported need not be looked at each time
    generate = import_module("peftcorr.data.synthetic.generate")
    with pytest.MonkeyPatch.context() as patch:  # rendered many times: equal seeds, equal views
        patch.setattr(generate, "render_view", cache(generate.render_view))
        yield script.study(tmp_path_factory.mktemp("flips"), FLIPS, seed=1)
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def test_no_flip_is_unnoticed(found: Any) -> None:
    kinds = {row.kind: row for row in found.flipped}
    assert sum(row.flips for row in found.flipped) == FLIPS
    assert all(row.files for row in found.flipped)
    assert {(row.kind, row.unnoticed, row.unclear, row.overlooked or 0) for row in found.flipped} == {
        (kind, 0, 0, 0) for kind in kinds
    }
    for kind in ("records", "predictions", "adapters", "adapters in peft's form"):
        assert kinds[kind].refused == kinds[kind].flips
    for kind in ("state of a training", "cached tables of pairs", "rendered benchmark", "frames of videos"):
        assert kinds[kind].rebuilt == kinds[kind].flips


def test_a_record_changed_by_hand_is_refused_by_every_command(script: ModuleType, found: Any) -> None:
    assert [one.way for one in found.tampered] == ["edited to 99.9", "renamed", "copied under another name"]
    assert {one.refused for one in found.tampered} == {script.COMMANDS}


def test_changed_renderings_are_made_anew(found: Any) -> None:
    assert len(found.renderings) == 6
    assert all(found.renderings.values())


def test_the_page_has_a_line_a_kind(script: ModuleType, found: Any) -> None:
    page = script.page(found)
    assert "**0** changed a\nresult without a word" in page
    assert "the next run mended 6:" in page
    assert "NO" not in page
    for row in found.flipped:
        assert f"| {row.kind} | {row.reader} | {row.files} | {row.flips} |" in page


def test_a_reader_that_checks_nothing_is_found_out(script: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "left" / "score.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"pck": [0.125] * 40, "unread": "x" * 200}), encoding="utf-8")
    before = path.read_bytes()
    kind = Kind("scores", "nobody", path.parent, (path,), lambda _: json.loads(path.read_text())["pck"])
    row = script.flip_bits(kind, 100, np.random.default_rng(0), tmp_path / "out", tmp_path)
    assert min(row.unnoticed, row.harmless, row.unclear) > 5  # a digit, an x, a bracket
    assert row.unnoticed + row.harmless + row.unclear == 100
    assert (row.refused, row.rebuilt, row.overlooked) == (0, 0, None)
    assert path.read_bytes() == before

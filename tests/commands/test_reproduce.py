"""``peftcorr reproduce``: the same digits where nothing changed, and how far it is where something did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState, GradientState

from peftcorr.cli import main
from peftcorr.files import sealed
from peftcorr.sweep import here
from tests.commanding import Commands
from tests.hostile import refused
from tests.results.left_behind import leave_run


@pytest.fixture(autouse=True)
def _calm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEFTCORR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("peftcorr.machine.launch.use_all_cores", lambda: None)


def reproduce(trained: Commands, record: Path, output: Path) -> int:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    places = ["--data-root", str(trained.photographs), "--weights", str(trained.weights)]
    return main(["reproduce", str(record), "-o", str(output), *places])


def edited(record: Path, folder: Path, **more: Any) -> Path:
    """A copy of a record, sealed again after a change."""
    path = folder / record.name
    path.write_text(json.dumps(sealed({**json.loads(record.read_text()), **more})), encoding="utf-8")
    return path


def test_the_same_digits_or_how_far(
    trained: Commands,
    lora: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record, again = trained.store.record_path(lora), tmp_path / "again"
    assert reproduce(trained, record, again) == 0
    out = capsys.readouterr().out
    assert "All 24 scores are the same to the last digit." in out
    assert "Its predictions and its adapter are the same files, byte for byte." in out
    assert out.count("same digits") == 24

    # What was carried out once serves for the rest.
    monkeypatch.setattr(here, "attempt", lambda plan, *_, **__: here.Outcome(plan, "ran"))
    scores = json.loads(record.read_text())["scores"]
    one = scores["photographs/test"]["argmax"]
    one["per_keypoint"]["0.1"] += 0.004
    one["intervals"]["per_keypoint"]["0.1"] = [0.0, 100.0]
    assert reproduce(trained, edited(record, tmp_path, scores=scores), again) == 0
    out = capsys.readouterr().out
    assert "Of 24 scores 23 the same to the last digit, 1 inside the record's interval" in out
    assert "the furthest is 0.004 points off" in out

    one["intervals"]["per_keypoint"]["0.1"] = [99.0, 100.0]
    assert reproduce(trained, edited(record, tmp_path, scores=scores), again) == 1
    out = capsys.readouterr().out
    assert "1 not inside it" in out
    assert out.count("OUTSIDE") == 1


def test_a_record_where_it_would_be_written_is_refused(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    record = commands.store.record_path(leave_run(commands.output))
    line = refused(capsys, "reproduce", str(record), "-o", str(commands.output))
    assert "lies where it would be written anew: give another folder with --output" in line


def test_nothing_to_reproduce(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = leave_run(tmp_path)
    path = tmp_path / "records" / f"{run_id}.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(sealed({**document, "status": "failed"})))
    assert "a run that failed" in refused(capsys, "reproduce", str(path), "-o", str(tmp_path / "again"))
    path.write_text(json.dumps({**document, "seed": 8}))
    assert "its seal does not fit" in refused(capsys, "reproduce", str(path), "-o", str(tmp_path / "again"))
    assert "is no valid record" in refused(capsys, "reproduce", str(tmp_path / "none.json"))

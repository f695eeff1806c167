"""A run is submitted only with its files as it wrote them, and with predictions that come out again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from accelerate.state import AcceleratorState, GradientState

from peftcorr.cli import main
from peftcorr.predictions import read_predictions, write_predictions
from peftcorr.results.store import Store
from peftcorr.results.verify import WHOLE, verify
from tests.commanding import Commands, one_sentence, run_of


@pytest.fixture(autouse=True)
def _calm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    monkeypatch.setenv("PEFTCORR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("peftcorr.machine.launch.use_all_cores", lambda: None)
    monkeypatch.chdir(tmp_path)


def arguments(trained: Commands, run_id: str, output: Path, photographs: Path | None = None) -> list[str]:
    places = ["--data-root", str(photographs or trained.photographs), "--weights", str(trained.weights)]
    return ["submit", run_id, "--output", str(output), *places]


@pytest.fixture
def output(trained: Commands, tmp_path: Path) -> Path:
    """The trained runs, to be changed."""
    return shutil.copytree(trained.output, tmp_path / "out")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The sentence with which a command refuses, below the bars of libraries."""
    assert main(arguments) == 2
    return one_sentence(capsys.readouterr().err)


def test_the_folder_for_a_pull_request(
    trained: Commands, lora: str, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(trained, lora[:8], output)) == 0
    said = capsys.readouterr().out
    folder = tmp_path / f"submission-{lora}"
    assert said.startswith("Every file is as the run wrote it. ")
    assert sorted(path.name for path in folder.iterdir()) == ["SUBMIT.md", "leaderboard", "sample.parquet"]
    states = {one.name: one.state for one in verify(folder / "leaderboard")}
    assert states.pop(f"predictions/{lora}.parquet") == "missing"
    assert set(states) == {f"records/{lora}.json", f"adapters/{lora}.safetensors", f"adapters/{lora}"}
    assert set(states.values()) == {WHOLE}
    # The sample is of the run's own predictions, to the last digit.
    sample, saved = (
        read_predictions(path) for path in (folder / "sample.parquet", Store(output).predictions_path(lora))
    )
    assert len(sample) > 0
    assert f"{len(sample):,} of its predictions were made anew: all are the same to the last digit." in said
    rows = {tuple(row.values()) for row in saved.to_pylist()}
    assert all(tuple(row.values()) in rows for row in sample.to_pylist())
    text = (folder / "SUBMIT.md").read_text(encoding="utf-8")
    for part in (
        f"peftcorr push {lora} user/name",
        f"peftcorr reproduce leaderboard/records/{lora}.json",
        "| argmax |",
    ):
        assert part in text
    assert "is there already" in refused(capsys, *arguments(trained, lora, output))


def test_a_frozen_run_is_submitted_too(trained: Commands, output: Path, tmp_path: Path) -> None:
    run_id = run_of(trained, "frozen")
    assert main([*arguments(trained, run_id, output), "-o", str(tmp_path / "mine")]) == 0
    assert [path.name for path in (tmp_path / "mine" / "leaderboard").iterdir()] == ["records"]


def test_predictions_that_do_not_come_out_again_are_refused(
    trained: Commands, lora: str, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(output)
    path = store.predictions_path(lora)
    table = read_predictions(path)
    moved = table["prediction_x"].to_numpy() + 0.5 * (np.arange(len(table)) % 20 == 0)
    index = table.schema.get_field_index("prediction_x")
    write_predictions(table.set_column(index, "prediction_x", pa.array(moved)), path)
    line = refused(capsys, *arguments(trained, lora, output))
    assert f"predictions/{lora}.parquet is changed" in line
    record = store.read(lora)
    assert record is not None
    store.write(
        record.model_copy(update={"files": {**record.files, **store.file_digest(path)}})
    )  # sealed anew
    line = refused(capsys, *arguments(trained, lora, output))
    assert "predictions of the run" in line
    assert "0.50 pixels off" in line
    assert not list(tmp_path.glob("submission*"))


def test_other_photographs_are_refused(
    trained: Commands, lora: str, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(trained.photographs, tmp_path / "photographs")
    bird = other / "JPEGImages" / "bird" / "0.jpg"
    bird.write_bytes(bird.read_bytes() + b"\0")
    line = refused(capsys, *arguments(trained, lora, output, other))
    assert "images dataset/test" in line
    assert f"not what the run {lora} read" in line

"""Comparisons of a leaderboard's runs: which are made, and what the page says of them."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from peftcorr.metrics.aggregate import score_predictions
from peftcorr.metrics.compare import compare
from peftcorr.metrics.presets import PEFTCORR
from peftcorr.predictions import read_predictions
from peftcorr.results.record import Record
from peftcorr.results.store import Store
from tests.metrics.made import drawn, written
from tests.scripts import script as load_script

TRAINING = {"steps": 10}


@pytest.fixture(scope="module")
def comparisons() -> ModuleType:
    return load_script("comparisons")


def run(
    output: Path, run_id: str, strategy: str, dataset: str, better: float, seed: int = 0, **more: Any
) -> None:
    """A run whose predictions are nearer to the truth by the share `better` than those of the other runs."""
    rows = drawn(0, {"cat": 6, "dog": 6}, keypoints=3)
    moved = [
        {**row, "prediction_x": better * row["truth_x"] + (1 - better) * row["prediction_x"]} for row in rows
    ]
    path = written(moved, output, run_id)
    recipe: dict[str, Any] = {
        "strategy": {"name": strategy},
        "backbone": {"name": "tiny", "image_size": 112},
        "training": TRAINING,
        "seed": seed,
        **more,
    }
    Store(output).write(
        Record(
            schema_version=1,
            run_id=run_id, status="ok", recipe=recipe, strategy=strategy, backbone="tiny", weights_id="tiny",
            weights_sha256=None, official_weights=True, dataset=dataset, seed=seed, protocol=PEFTCORR,
            trainable_parameters=0 if strategy == "frozen" else 10, total_parameters=100,
            scores=score_predictions(read_predictions(path), [0.1], PEFTCORR),
        )
    )  # fmt: skip


@pytest.fixture
def output(tmp_path: Path) -> Path:
    run(tmp_path, "f0", "frozen", "farm", 0.0)
    run(tmp_path, "lf0", "lora", "farm", 0.9)
    run(tmp_path, "lz0", "lora", "zoo", 0.5)
    run(tmp_path, "lf1", "lora", "farm", 0.9, seed=1)
    run(tmp_path, "af0", "adapter", "farm", 0.9)
    run(tmp_path, "sf0", "ssf", "farm", 0.9, training={"steps": 99})  # another budget
    return tmp_path


def test_what_is_compared(comparisons: ModuleType, output: Path) -> None:
    assert comparisons.main([str(output)]) == 0
    found = json.loads((output / "comparisons.json").read_text(encoding="utf-8"))
    assert sorted((entry["kind"], *entry["runs"]) for entry in found) == [
        ("data", "lf0", "lz0"),
        ("frozen", "f0", "af0"),
        ("frozen", "f0", "lf0"),
        ("frozen", "f0", "lf1"),
        ("frozen", "f0", "lz0"),
        ("frozen", "f0", "sf0"),
        ("strategy", "lf0", "af0"),
    ]
    [one] = [entry for entry in found if entry["runs"] == ["f0", "lf0"]]
    tables = [read_predictions(Store(output).predictions_path(run_id)) for run_id in one["runs"]]
    [same] = [row for row in compare(tables[:1], tables[1:], [0.1]) if row.aggregate == "per_keypoint"]
    assert one["difference"] == round(same.difference, 4) > 0
    assert same.interval is not None
    assert one["interval"] == [round(end, 4) for end in same.interval]


def test_the_page_marks_what_is_beyond_chance(comparisons: ModuleType, output: Path) -> None:
    assert comparisons.main([str(output)]) == 0
    lines = (output / "comparisons.md").read_text(encoding="utf-8").splitlines()
    [equal] = [line for line in lines if line.startswith("| adapter | tiny | farm | 0 | +0.0")]
    assert "**" not in equal
    better = [line for line in lines if line.startswith("| lora | tiny | farm | 1 |")]
    assert len(better) == 1
    assert better[0].split("|")[5].strip().startswith("**+")
    assert any(line.startswith("| lora | tiny | farm → zoo | 0 | **-") for line in lines)


def test_runs_of_another_folder(comparisons: ModuleType, output: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "page"
    assert comparisons.main([str(elsewhere), "--runs", str(output)]) == 0
    assert (elsewhere / "comparisons.md").is_file()


def test_nothing_to_compare_is_said(
    comparisons: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, "f0", "frozen", "farm", 0.0)
    assert comparisons.main([str(tmp_path)]) == 2
    assert "No two runs with predictions can be compared" in capsys.readouterr().err
    assert not (tmp_path / "comparisons.md").exists()

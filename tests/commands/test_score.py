"""``peftcorr score`` and ``benchmarks/protocols.py`` on a file of predictions made by hand."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peftcorr.cli import main
from peftcorr.metrics.aggregate import score_predictions
from peftcorr.metrics.presets import PRESETS, Preset
from peftcorr.metrics.scores import Scores
from peftcorr.predictions import PREDICTION_SCHEMA, SIZE_COLUMNS, write_predictions
from peftcorr.results.record import Record
from peftcorr.results.store import Store
from tests.scripts import script as load_script

PROJECT = Path(__file__).resolve().parents[1]


def rows() -> list[dict[str, Any]]:
    """Two pairs in frames of 384 x 768, s = 50 across: offsets along y, of 0 to 60 pixels."""
    return [
        {
            "dataset": "farm", "split": "test", "predictor": predictor, "pair": pair, "pair_id": f"{pair}:cat",
            "category": "cat" if pair else "dog", "source_image": "a.jpg", "target_image": "b.jpg",
            "keypoint_id": str(number), "source_x": 1.0, "source_y": 1.0, "truth_x": 9.0, "truth_y": 9.0,
            "prediction_x": 9.0, "prediction_y": 9.0 + offset + worse, "reference_length": 50.0,
            "target_width": 384, "target_height": 768, "reference_width": 50.0, "reference_height": 20.0,
        }
        for predictor, worse in (("argmax", 0.0), ("window", 20.0))
        for pair, offsets in enumerate(([0.0, 5.0, 9.0, 60.0], [7.0]))
        for number, offset in enumerate(offsets)
    ]  # fmt: skip


@pytest.fixture
def table() -> pa.Table:
    return pa.Table.from_pylist(rows(), schema=PREDICTION_SCHEMA)


@pytest.fixture
def predictions(table: pa.Table, tmp_path: Path) -> Path:
    path = tmp_path / "leaderboard" / "predictions" / "0123456789abcdef.parquet"
    write_predictions(table, path)
    return path


def numbers(text: str, preset: str) -> list[str]:
    """Cells of the first row of a preset, from its threshold on."""
    [line, *_] = [line for line in text.splitlines() if line.startswith(preset)]
    return line.split()[1:]


def test_every_aggregate_side_by_side(predictions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Offsets 0, 5, 9, 60 | 7: the circle of 5 px takes 2 of 4 and 0 of 1, the ellipse's 10 px takes 3 and 1."""
    presets = ["peftcorr", "geoaware", "sd4match"]
    assert main(["score", str(predictions), "--preset", *presets, "--alphas", "0.1", "1"]) == 0
    text = capsys.readouterr().out
    assert "farm/test, argmax" in text
    assert "farm/test, window" in text
    assert "2 pairs, 5 keypoints, 2 categories" in text
    assert numbers(text, "peftcorr") == ["0.1", "40.00*", "25.00*", "25.00*", "25.00*"]
    assert numbers(text, "geoaware") == ["0.1", "20.00*", "12.50*", "12.50", "12.50"]  # 5 px are just too far
    assert numbers(text, "sd4match") == ["0.1", "80.00", "87.50*", "87.50", "87.50"]


def test_json_has_every_score_and_definition(
    predictions: Path, table: pa.Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "scores.json"
    arguments = ["score", str(predictions), "--preset", "dift", "sd4match", "dift", "--json", str(written)]
    assert main(arguments) == 0
    content = json.loads(written.read_text(encoding="utf-8"))
    assert content["predictions"] == predictions.name
    assert list(content["presets"]) == ["dift", "sd4match"]
    for name, definition in content["presets"].items():
        assert Preset.model_validate(definition) == PRESETS[name]
        expected = score_predictions(table, [0.05, 0.1, 0.2], PRESETS[name])
        for predictor in ("argmax", "window"):
            found = Scores.model_validate(content["scores"]["farm/test"][predictor][name])
            assert found == expected["farm/test"][predictor]


def test_old_predictions(predictions: Path, table: pa.Table, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(table.drop_columns(list(SIZE_COLUMNS)), predictions)
    assert main(["score", str(predictions), "--preset", "peftcorr", "dift", "geoaware"]) == 0
    assert main(["score", str(predictions), "--preset", "sd4match"]) == 2
    error = capsys.readouterr().err
    assert "written before target sizes were kept: score them with peftcorr, dift, geoaware" in error
    assert predictions.name in error


def test_errors_are_one_sentence(
    predictions: Path, table: pa.Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: str) -> str:
        assert main(["score", *arguments]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert len(captured.err.strip().splitlines()) == 1
        return captured.err

    good = str(predictions)
    assert "Did you mean 'sd4match'?" in refused(good, "--preset", "sd4mtch")
    assert "thresholds must be positive" in refused(good, "--alphas", "nan")
    assert "no such file" in refused(str(tmp_path / "gone.parquet"))
    assert "no such file" in refused(str(tmp_path))
    path = tmp_path / "other.parquet"
    path.write_bytes(b"no parquet at all")
    assert "no readable Parquet file" in refused(str(path))
    pq.write_table(table.drop_columns(["category"]), path)
    assert "has no column category" in refused(str(path))
    pq.write_table(table.slice(0, 0), path)
    assert "no keypoints to score" in refused(str(path))
    broken = rows()
    broken[2]["prediction_x"] = math.nan
    pq.write_table(pa.Table.from_pylist(broken, schema=PREDICTION_SCHEMA), path)
    error = refused(str(path))
    assert "prediction is not finite in pair 0:cat" in error
    assert "other.parquet" in error
    with pytest.raises(SystemExit):
        main(["score", good, "--alphas", "many"])


def test_no_model_is_imported(predictions: Path) -> None:
    code = (
        "import sys; from peftcorr.cli import main; "
        f"code = main(['score', {str(predictions)!r}, '--preset', 'sd4match']); "
        "print([name for name in ('torch', 'transformers', 'datasets') if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def protocols() -> Any:
    return load_script("protocols")


def test_the_page_of_all_protocols(predictions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = predictions.parents[1]
    Store(output).write(
        Record(
            schema_version=1,
            run_id=predictions.stem, status="ok", recipe={"backbone": {"image_size": 224}}, strategy="frozen",
            backbone="dinov2_vits14", weights_id="other-weights", weights_sha256=None, official_weights=False,
            dataset="farm", seed=0, trainable_parameters=0,
        )
    )  # fmt: skip
    assert protocols().main([str(predictions), "--output", str(output), "--alphas", "0.1", "0.2"]) == 0
    page = (output / "protocols.md").read_text(encoding="utf-8")
    assert f"Predictions of run `{predictions.stem}`: frozen on other-weights at 224 px." in page
    assert f"python benchmarks/protocols.py leaderboard/predictions/{predictions.stem}.parquet" in page
    assert str(output) not in page
    for preset in (preset for preset in PRESETS.values() if preset.direction == "forwards"):
        assert (
            f"| `{preset.name}` | {preset.frame} | distance {preset.comparator.replace('<', '&lt;')} " in page
        )
    assert page.count("## farm/test") == 2
    first = page[page.index("| PCK@0.1 ") :].splitlines()[:9]
    assert first[2:] == [
        "| `peftcorr` | **40.00** | **25.00** | **25.00** | **25.00** | 15.00 |",
        "| `dift` | **40.00** | **25.00** | 25.00 | 25.00 | 15.00 |",
        "| `geoaware` | **20.00** | **12.50** | 12.50 | 12.50 | 7.50 |",
        "| `sd4match` | 80.00 | **87.50** | 87.50 | 87.50 | 7.50 |",
        "| `visual_ai` | 80.00 | **87.50** | 87.50 | 87.50 | 7.50 |",
        "| `marco` | 80.00 | **87.50** | 87.50 | 87.50 | 7.50 |",
        "| spread | 60.00 | 75.00 | 75.00 | 75.00 | **75.00** |",
    ]
    again = page
    assert protocols().main([str(predictions), "--output", str(output), "--alphas", "0.1", "0.2"]) == 0
    assert (output / "protocols.md").read_text(encoding="utf-8") == again


def test_the_page_without_a_record_and_of_an_old_file(
    predictions: Path, table: pa.Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert protocols().main([str(predictions), "--output", str(tmp_path)]) == 0
    page = (tmp_path / "protocols.md").read_text(encoding="utf-8")
    assert re.search(rf"run `{predictions.stem}`\.$", page, re.MULTILINE)
    pq.write_table(table.drop_columns(list(SIZE_COLUMNS)), predictions)
    assert protocols().main([str(predictions), "--output", str(tmp_path)]) == 2
    assert "written before target sizes" in capsys.readouterr().err

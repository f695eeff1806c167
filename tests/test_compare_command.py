"""``peftcorr compare`` and ``peftcorr breakdown`` on predictions made up on the spot."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peftcorr.cli import main
from tests.metrics.made import drawn, written


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "160")
    rows = [
        {**row, "keypoint_id": ("left_eye", "right_eye", "nose")[int(row["keypoint_id"])]}
        for row in drawn(0, {"cat": 5, "d[bold]g": 5}, keypoints=3)
    ]
    better = [{**r, "prediction_x": (r["prediction_x"] + r["truth_x"]) / 2} for r in rows]
    written(rows, tmp_path, "aaaa1111")
    written([*better, *({**r, "predictor": "window"} for r in better)], tmp_path, "bbbb2222")
    written(rows[:-1], tmp_path, "cccc3333")
    return tmp_path


def test_compare_prints_difference_interval_and_p_value(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "aaaa", "bbbb", "--output", str(output), "--alphas", "0.1"]) == 0
    text = capsys.readouterr().out
    assert "A: aaaa1111" in text
    assert "farm/test, argmax" in text
    assert "window" not in text
    line = next(line for line in text.splitlines() if "category mean per image" in line)
    assert "@0.1" in line
    assert "[+" in line
    assert 0 < float(line.strip(" │").split()[-1]) < 0.05


def test_compare_two_predictors_of_one_run(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", "bbbb", "bbbb", "--output", str(output), "--predictor", "argmax", "window"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "farm/test, argmax and window" in text
    assert "+0.00 │ [+0.00, +0.00] │ 1.000" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "aaaa", "cccc"], "The runs do not have the same keypoints on farm/test: keypoint"),
        (["compare", "aaaa", "zzzz"], "No predictions of a run 'zzzz'"),
        (
            ["compare", "aaaa", "bbbb", "--predictor", "a", "b", "c"],
            "--predictor takes one name, or one for each",
        ),
        (["compare", "aaaa", "bbbb", "--alphas", "-1"], "thresholds must be positive"),
        (["breakdown", "aaaa", "--predictor", "windw"], "The run has no predictor 'windw'"),
        (["breakdown", "xxxx"], "No predictions of a run 'xxxx'"),
    ],
)
def test_errors_are_one_sentence(
    output: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main([*arguments, "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("peftcorr: ")
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize("content", [b"no parquet", b"PAR1 nor this PAR1", None])
def test_a_file_that_is_no_predictions_is_refused(
    output: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    path = output / "predictions" / "dddd.parquet"
    if content is None:
        pq.write_table(pa.table({"prediction_x": ["a", "b"]}), path)
    else:
        path.write_bytes(content)
    assert main(["breakdown", "dddd", "--output", str(output)]) == 2
    said = capsys.readouterr().err
    assert "dddd.parquet is no readable Parquet file" in said or "dddd.parquet has no column" in said


def test_breakdown_prints_tables_and_writes_a_page_with_a_curve(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["breakdown", "bbbb", "--output", str(output)]) == 0
    text = capsys.readouterr().out
    for title in ("by category", "by viewpoint", "by truncation", "by number of keypoints", "left and right"):
        assert f"farm/test, window: {title}" in text
    assert "d[bold]g" in text
    page = (output / "breakdowns" / "bbbb2222.md").read_text()
    assert str(output / "breakdowns" / "bbbb2222.md") in text
    assert "](bbbb2222-farm-test.svg)" in page
    assert re.search(r"^\| both \| \d+ \| \d+ \| [\d.]+ \| [\d.]+ \[[\d.]+, [\d.]+\] \|", page, re.MULTILINE)
    assert "### farm/test, argmax: PCK over the threshold" in page
    assert "| d\\[bold\\]g |" in page
    figure = output / "breakdowns" / "bbbb2222-farm-test.svg"
    first = figure.read_bytes(), page
    assert first[0].startswith(b"<?xml")
    assert main(["breakdown", "bbbb", "--output", str(output)]) == 0
    assert (figure.read_bytes(), (output / "breakdowns" / "bbbb2222.md").read_text()) == first


def test_one_predictor_alone(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["breakdown", "bbbb", "--output", str(output), "--predictor", "window", "--alphas", "0.2"]) == 0
    )
    text = capsys.readouterr().out
    assert "argmax" not in text
    assert "PCK@0.2 per image" in text

"""``peftcorr breakdown``: its tables and its page, scored as the run was."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from peftcorr.cli import main
from peftcorr.commands.score import score_by_presets
from peftcorr.metrics.presets import PEFTCORR
from tests.commanding import Commands
from tests.commands.made_runs import made_runs, record


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return made_runs(tmp_path)


def test_it_follows_the_record(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--strategy", "frozen", "--predictor", "argmax", "--alphas", "0.07", "0.3"]
    assert commands.run(*given, "--set", "preset=visual_ai") == 0
    record = commands.record()
    [(split, predictors)] = record.scores.items()
    scores = predictors["argmax"]
    path = commands.output / "predictions" / f"{record.run_id}.parquet"
    plain = score_by_presets(path, [PEFTCORR], [0.07, 0.3])[split]["argmax"]["peftcorr"]
    assert plain.per_image != scores.per_image  # else the page would say the same by either
    capsys.readouterr()
    assert main(["breakdown", record.run_id, "--output", str(commands.output)]) == 0
    said = capsys.readouterr().out
    assert "as defined by visual_ai" in said
    page = (commands.output / "breakdowns" / f"{record.run_id}.md").read_text(encoding="utf-8")
    assert "A keypoint is correct as defined by visual_ai." in page
    assert "PCK@0.07 per keypoint" in page
    assert "PCK@0.1 per keypoint |" not in page.partition("coverage")[0]
    [whole] = {line for line in page.splitlines() if line.startswith("| all |")}
    for alpha in ("0.07", "0.3"):
        assert f"| {scores.per_keypoint[alpha]:.2f}" in whole
    assert f"| {scores.per_image['0.07']:.2f}" in whole
    assert split in page


def test_other_thresholds(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run("--strategy", "frozen", "--predictor", "argmax") == 0
    run_id = commands.record().run_id
    assert main(["breakdown", run_id, "--output", str(commands.output), "--alphas", "0.15"]) == 0
    said = capsys.readouterr().out
    assert "PCK@0.15" in said.replace("\n", "")
    assert "as defined by" not in said


def test_the_page_of_a_breakdown_says_what_was_run(output: Path) -> None:
    assert main(["breakdown", "bbbb", "--output", str(output)]) == 0
    page = output / "breakdowns" / "bbbb2222.md"
    assert page.read_text().startswith("# Breakdown of bbbb2222\n")
    record(output, "bbbb2222")
    assert main(["breakdown", "bbbb", "--output", str(output)]) == 0
    assert page.read_text().startswith("# Breakdown of bbbb2222, frozen on tiny\n")


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

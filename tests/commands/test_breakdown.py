"""`peftcorr breakdown` scores as the run did: by its definition of correct, at its thresholds."""

from __future__ import annotations

import pytest

from peftcorr.cli import main
from peftcorr.commands.score import score_by_presets
from peftcorr.metrics.presets import PEFTCORR
from tests.commanding import Commands


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

"""The embedded default, smaller: no flag, no data, no network; one line to a leaderboard."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate.state import AcceleratorState, GradientState

from peftcorr.backbones import BACKBONES
from peftcorr.cli import main
from peftcorr.results.store import Store

SMALLER = (
    "dataset.categories=[car, chair]",
    "dataset.images={trn: 6, val: 3, test: 3}",
    "dataset.pairs={trn: 12, val: 6, test: 6}",
)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_from_nothing_to_a_leaderboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PEFTCORR_CACHE", str(tmp_path / "cache"))
    command = ["run", "--strategy", "frozen", "lora", "--steps", "4", "--output", str(tmp_path / "out")]
    assert main([*command, "--set", *SMALLER]) == 0
    records = {record.strategy: record for record in Store(tmp_path / "out").records()}
    assert {record.status for record in records.values()} == {"ok"}
    lora = records["lora"]
    assert (lora.backbone, lora.official_weights) == ("tiny", True)
    assert lora.dataset.startswith("synthetic-"), "a smaller benchmark is another benchmark, and is named so"
    weights = BACKBONES.get("tiny").embedded_weights()
    assert weights is not None
    assert lora.weights_sha256 == weights.sha256
    assert lora.trainable_parameters == 4 * 8 * 192 * 6
    [by_predictor] = lora.scores.values()
    assert set(by_predictor["argmax"].per_category) == {"car", "chair"}
    assert "lora" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main([*command, "--set", *SMALLER]) == 0
    assert capsys.readouterr().out.count("done before, nothing to do") == 2

"""``peftcorr reproduce-table``: a table's cells on other data, what was published beside, what it would take."""

from __future__ import annotations

from pathlib import Path

import pytest

from peftcorr.cli import main
from tests.commanding import QUICK, Commands

TABLE = """\
title: Small
source: Somebody
recipe: spair71k/base
known_backbones: {Small: {name: small}}
known_methods: {frozen: {name: frozen}, last block: {name: last_k, k: 1}}
known_predictors: {argmax: {name: argmax}}
backbones: [Small]
methods: [frozen, last block]
predictors: [argmax]
images: {photographs: {test: 10}}
published:
  - {backbone: Small, method: last block, predictor: argmax, dataset: photographs, per_keypoint: 7.74, per_image: 9.91}
"""


@pytest.fixture(autouse=True)
def _calm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEFTCORR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("peftcorr.machine.launch.use_all_cores", lambda: None)


def test_the_cells_run_and_published_figures_stand_beside(
    commands: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(TABLE, encoding="utf-8")
    places = ["--data-root", str(commands.photographs), "--weights", str(commands.weights)]
    arguments = [
        "reproduce-table",
        str(path),
        "--dataset",
        "pairs",
        *places,
        "--output",
        str(commands.output),
    ]
    assert main([*arguments, "--seed", "0", "1", "--loss", "own", "--set", *QUICK]) == 0
    out = capsys.readouterr().out
    records = commands.records()
    assert sorted(record.strategy for record in records) == ["frozen", "last_k", "last_k"]
    assert {
        record.recipe["training"]["loss"]["cross_entropy"]
        for record in records
        if record.strategy != "frozen"
    } == {1}
    frozen, last = (line for line in out.splitlines() if line.startswith("Small  "))
    assert frozen.split()[-2:] == ["-", "-"]
    assert last.split()[-2:] == ["7.74", "9.91"]
    assert " ± " in last
    assert " ± " not in frozen
    assert "Published: Somebody" in out


def test_a_dry_run_needs_neither_data_nor_weights(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["reproduce-table", "men/2", "--dry-run", "--backbone", "tiny", "--image-size", "112"]
    assert main([*arguments, "--seed", "0", "1", "2", "--output", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    frozen, *trained = (line for line in out.splitlines() if line.startswith("tiny"))
    assert frozen.split()[2:5] == ["0", "0", "481"]
    assert [line.split()[-2] for line in trained] == ["3", "3", "3"]
    assert "24,000" in trained[0]
    assert "10 runs, " in out
    assert "40% of 67 TFLOP/s" in out
    assert not (tmp_path / "out").exists()


def test_what_does_not_fit_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["reproduce-table", "men/2", "--dry-run", "--backbone", "tiny", "--set", "backbone.layer=1"])
        == 0
    )
    out = capsys.readouterr().out
    assert out.count("impossible") == 2
    assert "tiny, last two blocks: " in out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("predictors=[upsampled_argmax]", "--set 'predictors': the table or another option says it"),
        ("training.loss.beta=5", "--set 'training.loss.beta'"),
        ("seed=3", "--set seed: give --seed"),
    ],
)
def test_what_the_table_says_is_not_set_in_vain(
    given: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["reproduce-table", "men/2", "--dry-run", "--backbone", "tiny", "--loss", "own"]
    assert main([*arguments, "--set", given]) == 2
    assert said in capsys.readouterr().err

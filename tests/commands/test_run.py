"""``peftcorr run``: what it is told, what it prints, and what it leaves when it is stopped."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from peftcorr import pipeline
from peftcorr.cli import main
from peftcorr.commands.options import OUTPUT
from peftcorr.engine.checkpoint import Checkpoints
from peftcorr.sweep import here
from peftcorr.sweep.here import Outcome
from tests.commanding import Commands


def test_a_dry_run_prints_the_cells_and_leaves_nothing(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.run("--strategy", "frozen", "lora", "--dry-run") == 0
    rows = [re.split("  +", line) for line in capsys.readouterr().out.splitlines() if "on small" in line]
    assert [row[1].split(" on ")[0] for row in rows] == ["frozen", "lora"]
    assert [row[2] for row in rows] == ["0", "3,072"]
    assert [row[4] for row in rows] == ["0", "12"]  # four steps of three images
    assert not commands.output.exists()


def test_a_dry_run_says_which_cell_is_impossible(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.run("--strategy", "last_k", "--dry-run", assignments=("strategy.k=4",)) == 0
    assert commands.run("--strategy", "last_k", "frozen", "--dry-run", assignments=("backbone.layer=9",)) == 0
    out = capsys.readouterr().out
    assert "strategy.k is 4, but this backbone has 3 blocks" in out
    assert out.count("backbone.layer is 9, but this backbone has 3 blocks") == 2


def test_a_dry_run_names_the_run(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run("--strategy", "frozen", "--dry-run") == 0
    out = capsys.readouterr().out
    assert commands.run("--strategy", "frozen") == 0
    assert commands.record().run_id in out


def test_a_dry_run_fits_a_terminal_and_breaks_no_id(
    commands: Commands, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    assert commands.run("--strategy", "frozen", "--dry-run") == 0
    out = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    table = out[out.index("run  ") :].partition("Minutes")[0]
    assert max(map(len, table.splitlines())) <= 80
    assert re.search(r"^[0-9a-f]{8} +frozen on", table, re.MULTILINE)


def test_the_leaderboard_is_printed(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run("--strategy", "frozen", "lora") == 0
    out = capsys.readouterr().out
    assert out.index("frozen on small, photographs, seed 0") < out.index("lora on small")
    assert "PCK" in out
    assert out.splitlines()[-1].startswith(f"Leaderboard: {commands.output / 'README.md'}")
    assert "\x1b[" not in out, "colours in what is no terminal"


def test_flags_are_recipe_keys(commands: Commands) -> None:
    flags = ["--image-size", "64", "--predictor", "softargmax", "argmax", "--alphas", "0.3", "0.1"]
    more = ["--seed", "3", "--limit-pairs", "5"]
    assert commands.run("--strategy", "frozen", *flags, *more, assignments=["encode_batch=2"]) == 0
    recipe = commands.record().recipe
    assert recipe["backbone"] == {"name": "small", "image_size": 64, "resize": "stretch"}
    assert [section["name"] for section in recipe["predictors"]] == ["softargmax", "argmax"]
    assert recipe["alphas"] == [0.1, 0.3]
    assert (recipe["seed"], recipe["limit_pairs"], recipe["encode_batch"]) == (3, 5, 2)


def test_steps_on_the_command_line_win(commands: Commands) -> None:
    assert commands.run("--strategy", "lora", "--steps", "2", assignments=["training.steps=7"]) == 0
    assert commands.record().recipe["training"]["steps"] == 2
    cost = commands.record().cost
    assert cost is not None
    assert cost.steps == 2


def interrupt_after(monkeypatch: pytest.MonkeyPatch, calls: int, owner: object, name: str) -> None:
    """Ctrl-C at the call of a function that comes after so many whole ones."""
    plain = getattr(owner, name)
    left = [calls]

    def once_more(*given: Any, **options: Any) -> Any:
        if not left[0]:
            os.kill(os.getpid(), signal.SIGINT)
        left[0] -= 1
        return plain(*given, **options)

    monkeypatch.setattr(owner, name, once_more)


def test_a_stop_before_anything_is_saved(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_after(monkeypatch, 0, pipeline, "train")
    assert commands.run("--strategy", "frozen", "lora") == 130
    assert capsys.readouterr().err.endswith("peftcorr: stopped; nothing was saved yet.\n")


def test_a_stop_after_a_state_was_saved(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_after(monkeypatch, 1, Checkpoints, "save")
    assert commands.run("--strategy", "lora") == 130
    said = "peftcorr: stopped; the same command goes on from the last saved state.\n"
    assert capsys.readouterr().err.endswith(said)
    [state] = (commands.output / "state").glob("*/step-*")
    assert state.is_dir()


def test_a_stop_between_cells_says_how_many_are_done(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_after(monkeypatch, 1, here, "run")
    assert commands.run("--strategy", "frozen", "lora", "norm") == 130
    assert capsys.readouterr().err.endswith("(1 of 3 cells are done).\n")


def test_runs_go_to_a_folder_that_git_leaves_alone(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stores: list[Path] = []

    def nothing(recipes: Any, bench: Any, overwrite: str) -> list[Outcome]:
        stores.append(bench.output)
        raise KeyboardInterrupt

    monkeypatch.setattr("peftcorr.sweep.here.sweep", nothing)
    arguments = commands.arguments("--strategy", "frozen")
    index = arguments.index("--output")
    del arguments[index : index + 2]
    assert main(arguments) == 130
    assert stores == [OUTPUT] == [Path("runs")]


def test_a_dry_run_downloads_nothing(
    commands: Commands, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that are not here decide the id, which is then not known; the cost is."""
    asked: list[bool] = []

    def hub(name: str, local_files_only: bool, **_: object) -> str:
        asked.append(local_files_only)
        raise OSError("there is no such folder")

    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    data = ["--dataset", "pairs", "--data-root", str(commands.photographs)]
    assert main(["run", "--strategy", "frozen", "--backbone", "dinov2_vits14", *data, "--dry-run"]) == 0
    assert asked == [True]
    row = next(line for line in capsys.readouterr().out.splitlines() if "frozen on dinov2_vits14" in line)
    assert row.split()[0] == "-"
    assert "22,056,192" in row

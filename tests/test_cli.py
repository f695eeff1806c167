"""The commands besides a sweep's own behaviour: what they print, and what they leave alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from accelerate.state import AcceleratorState, GradientState

from peftcorr.cli import cache_folder, main
from peftcorr.recipe import Recipe, resolve
from tests.commanding import PROJECT, Commands


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    monkeypatch.setenv("COLUMNS", "220")
    return Commands(tmp_path)


def test_ls_names_everything(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "220")
    assert main(["ls"]) == 0
    out = capsys.readouterr().out
    for name in (
        "frozen", "last_k", "lora", "adapter", "adaptformer", "dinov2_vits14", "dinov2_vitg14_reg", "tiny",
        "spair71k", "pairs", "pf_willow", "pf_pascal", "ap10k", "coco", "synthetic",
        "argmax", "window_softargmax", "softargmax",
    ):  # fmt: skip
        assert re.search(rf"│ {name} +│ peftcorr ", out), name
    assert "BROKEN" not in out
    [row] = [line.split("│") for line in out.splitlines() if line.startswith("│ dinov2_vitb14 ")]
    assert [cell.strip() for cell in row[1:-1]] == [
        "dinov2_vitb14", "86,579,712", "14", "518", "Apache-2.0", "facebook/dinov2-base",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("strategy", "backbone", "row"),
    [
        ("lora", "dinov2_vits14", ("147,456", "22,203,648", "0.664")),
        ("frozen", "dinov2_vits14", ("0", "22,056,192", "0.000")),
        ("last_k", "dinov2_vitb14", ("7,090,944", "86,579,712", "8.190")),
    ],
)
def test_params_counts_without_weights(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, strategy: str, backbone: str,
    row: tuple[str, str, str],
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "220")
    assert main(["params", "--strategy", strategy, "--backbone", backbone]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if backbone in line]
    assert [cell.strip() for cell in line.strip("│").split("│")] == [backbone, strategy, *row]


def test_params_of_an_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params", "--strategy", "lorra"]) == 2
    assert "Did you mean 'lora'?" in capsys.readouterr().err


def test_validate_prints_the_recipe_with_every_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("strategy: {name: adapter, bottleneck: 8}\n")
    assert main(["validate", str(path)]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert Recipe.model_validate(printed) == resolve({}, [], path)
    assert printed["strategy"] == {
        "name": "adapter", "bottleneck": 8, "blocks": "all", "layer_norm": False, "init_std": 0.001,
    }  # fmt: skip
    path.write_text("strategy: {name: adapter, botleneck: 8}\n")
    assert main(["validate", str(path)]) == 2
    assert "Did you mean 'bottleneck'?" in capsys.readouterr().err


def test_compile_gives_the_same_bytes(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run("--strategy", "frozen") == 0
    files = [commands.output / "README.md", *commands.output.glob("figures/*")]
    before = {path: path.read_bytes() for path in files}
    for path in files:
        path.unlink()
    capsys.readouterr()
    assert main(["compile", str(commands.output)]) == 0
    assert capsys.readouterr().out.strip() == str(commands.output / "README.md")
    assert {path: path.read_bytes() for path in files} == before


def test_compile_without_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", str(tmp_path)]) == 2
    assert "peftcorr: There is no folder" in capsys.readouterr().err


def test_a_dry_run_prints_the_cells_and_leaves_nothing(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.run("--strategy", "frozen", "lora", "--dry-run") == 0
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if "on small" in line]
    assert [row[2].split(" on ")[0].strip() for row in rows] == ["frozen", "lora"]
    assert [row[3].strip() for row in rows] == ["0", "3,072"]
    assert [row[5].strip() for row in rows] == ["0", "12"]  # four steps of three images
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


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PEFTCORR_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/peftcorr")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "peftcorr"
    monkeypatch.setenv("PEFTCORR_CACHE", "/elsewhere")
    assert cache_folder() == Path("/elsewhere")


def test_help_is_quick_and_complete() -> None:
    """Nobody waits for torch to read a flag's name."""
    code = (
        "import sys; from peftcorr.cli import main\ntry: main(['run', '--help'])\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=PROJECT
    )
    assert done.returncode == 0, done.stderr
    for flag in (
        "strategy", "backbone", "dataset", "eval-on", "data-root", "weights", "image-size", "predictor", "alphas",
        "seed", "steps", "recipe", "set", "limit-pairs", "output", "overwrite", "plugin", "dry-run",
    ):  # fmt: skip
        assert f"--{flag} " in done.stdout.replace("]", " "), flag

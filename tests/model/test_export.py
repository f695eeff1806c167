"""A trained model written for transformers gives the features that it gave here."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import transformers

from peftcorr.backbones import BACKBONES, Backbone
from peftcorr.cli import main
from peftcorr.config import make, options
from peftcorr.errors import PeftCorrError
from peftcorr.model.finished import load_finished
from peftcorr.recipe import Recipe
from peftcorr.strategies import STRATEGIES, Strategy
from peftcorr.strategies.base import apply_checked
from tests.commanding import PLAIN, PLUGIN, Commands, run_of
from tests.small_models import SIZE, Small, SmallRegisters, images, save_weights


@pytest.fixture(scope="module")
def commands(trained: Commands) -> Commands:
    return trained


def export(commands: Commands, run_id: str, folder: Path, weights: Path | None = None) -> int:
    options = ["--output", str(commands.output), "--weights", str(weights or commands.weights)]
    return main(["export", run_id, str(folder), *options])


def adapted_features(commands: Commands, run_id: str) -> torch.Tensor:
    from safetensors.torch import load_file

    record = commands.store.read(run_id)
    assert record is not None
    recipe = Recipe.model_validate(record.recipe)
    cls = BACKBONES.get(record.backbone)
    settings = cls.Config(**options(recipe.backbone))
    backbone = cls.build(settings, cls.find_weights(settings, commands.weights))
    strategy = make(STRATEGIES, recipe.strategy)
    apply_checked(strategy, backbone)
    strategy.load_state_dict(backbone, load_file(commands.store.adapter_path(run_id)))
    backbone.eval()
    with torch.inference_mode():
        return backbone.features(images())


@pytest.mark.parametrize(("strategy", "layer"), [("lora", None), ("last_k", None), ("lora", 2)])
def test_plain_transformers_gives_the_same_features(
    commands: Commands, tmp_path: Path, strategy: str, layer: int | None
) -> None:
    run_id = run_of(commands, strategy, layer)
    assert export(commands, run_id, tmp_path / "model") == 0
    model, report = transformers.Dinov2Model.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    with torch.inference_mode():
        tokens = model.eval()(images()).last_hidden_state[:, 1:]
    plain = tokens.transpose(1, 2).reshape(2, -1, SIZE // 8, SIZE // 8)
    expected = adapted_features(commands, run_id)
    assert (plain - expected).norm() / expected.norm() < 1e-4
    pretrained = transformers.Dinov2Model.from_pretrained(commands.weights).eval()
    with torch.inference_mode():
        before = pretrained(images()).last_hidden_state[:, 1:].transpose(1, 2).reshape(plain.shape)
    assert (plain - before).norm() / before.norm() > 1e-2, "the adapter made no difference"


def test_what_cannot_be_merged_is_not_written(
    commands: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(commands, run_of(commands, "adapter"), tmp_path / "model") == 2
    assert "no exact merge" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_features_that_are_no_numbers_are_not_written(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoil(self: Strategy, backbone: Backbone) -> None:
        for parameter in backbone.parameters():
            parameter.data.fill_(math.nan)

    monkeypatch.setattr(STRATEGIES.get("last_k"), "merge", spoil)
    assert export(commands, run_of(commands, "last_k"), tmp_path / "model") == 2
    assert "differ from the run's by nan" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_a_record_whose_recipe_is_none_is_refused(commands: Commands, tmp_path: Path) -> None:
    record = commands.store.read(run_of(commands, "last_k"))
    assert record is not None
    odd = record.model_copy(update={"recipe": {**record.recipe, "strategy": {"name": "\x1b" * 5000}}})
    with pytest.raises(PeftCorrError, match=f"The record {record.run_id}: Unknown strategy") as caught:
        load_finished(odd, commands.store, commands.weights)
    assert len(str(caught.value)) < 1000


def test_an_unknown_run(commands: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(commands, "nothing", tmp_path / "model") == 2
    error = capsys.readouterr().err
    assert "no finished run nothing" in error
    assert run_of(commands, "last_k") in error


def test_the_beginning_of_an_id_is_enough_and_no_library_speaks(commands: Commands, tmp_path: Path) -> None:
    run_id, folder = run_of(commands, "last_k"), tmp_path / "model"
    options = ["--output", str(commands.output), "--weights", str(commands.weights), "--plugin", str(PLUGIN)]
    done = commands.process(PLAIN, ["export", run_id[:6], str(folder), *options])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{folder}: last_k merged into small")
    assert done.stdout.count("\n") == 1
    assert (folder / "model.safetensors").is_file()


def test_a_stop_leaves_no_half_a_model(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(backbone: Backbone, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(Small, "save_pretrained", stop)
    assert export(commands, run_of(commands, "last_k"), tmp_path / "model") == 130
    assert not list(tmp_path.iterdir())


def test_other_weights_are_refused(
    commands: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = save_weights(SmallRegisters, tmp_path / "other")
    assert export(commands, run_of(commands, "lora"), tmp_path / "model", other) == 2
    assert "was trained from small-weights, not from other" in capsys.readouterr().err


def test_a_folder_in_use_is_left_alone(
    commands: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert export(commands, run_of(commands, "lora"), tmp_path) == 2
    assert "is there already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_lost_adapter(commands: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = run_of(commands, "last_k")
    path = commands.store.adapter_path(run_id)
    kept = path.read_bytes()
    path.unlink()
    assert export(commands, run_id, tmp_path / "model") == 2
    path.write_bytes(kept[:50])
    assert export(commands, run_id, tmp_path / "model") == 2
    path.write_bytes(kept)
    said = capsys.readouterr().err
    assert "cannot be read" in said
    assert "was changed since the run" in said
    assert not (tmp_path / "model").exists()

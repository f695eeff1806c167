"""Whatever goes wrong gives one clear sentence and a non-zero exit, and loses no record."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable

import pytest
import torch

from peftcorr.cli import main
from peftcorr.errors import PeftCorrError, TrainingDiverged
from tests.commanding import Commands, one_sentence

# Said before any cell starts: exit code 2, no record


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--strategy", "lorra"], "Unknown strategy 'lorra'. Did you mean 'lora'?"),
        (["--strategy", "frozen", "--backbone", "dinov2_vitb15"], "Did you mean 'dinov2_vitb14'?"),
        (["--set", "training.step=3"], "there is no key 'training.step'. Did you mean 'steps'?"),
        (["--set", "strategy.rnak=3"], "there is no key 'rnak'. Did you mean 'rank'?"),
        (
            ["--data-root", "spair71k=somewhere"],
            "The dataset 'pairs' needs its folder: give --data-root pairs=",
        ),
        (["--data-root", "nowhere"], "The data root nowhere is not a folder"),
        (["--weights", "nowhere"], "--weights nowhere: there is no config.json in it"),
        (["--recipe", "none.yaml"], "none.yaml: there is no such file"),
        (["--alphas", "0"], "every threshold must lie between 0 and 10"),
    ],
)
def test_a_wrong_command(
    commands: Commands, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    assert commands.run(*flags, assignments=[]) == 2
    assert said in one_sentence(capsys.readouterr().err)
    assert not commands.output.exists()


def test_a_misspelt_key_in_a_recipe_names_the_file(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    path = commands.folder / "mine.yaml"
    path.write_text("training: {stesp: 3}\n")
    assert commands.run("--recipe", str(path), assignments=[]) == 2
    sentence = one_sentence(capsys.readouterr().err)
    assert f"--recipe {path}" in sentence
    assert "Did you mean 'steps'?" in sentence


# A cell that fails: exit code 1, a record of the failure


def truncate_image(commands: Commands) -> str:
    path = commands.photographs / "JPEGImages" / "car" / "1.jpg"
    path.write_bytes(path.read_bytes()[:300])
    return "1.jpg cannot be decoded"


def unequal_counts(commands: Commands) -> str:
    path = next((commands.photographs / "PairAnnotation" / "test").iterdir())
    annotation = json.loads(path.read_text())
    annotation["src_kps"] += [[1, 2]]
    path.write_text(json.dumps(annotation))
    return path.name


def other_shape(commands: Commands) -> str:
    path = commands.weights / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hidden_size": 48}))
    return "hidden_size 48, but this backbone has 32"


def truncated_weights(commands: Commands) -> str:
    path = commands.weights / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])
    return "model.safetensors cannot be read as weights"


def test_damaged_annotation_is_said_before_anything_starts(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    said = unequal_counts(commands)
    assert commands.run("--strategy", "frozen") == 2
    assert said in one_sentence(capsys.readouterr().err)
    assert not commands.output.exists()


@pytest.mark.parametrize("damage", [truncate_image, other_shape, truncated_weights])
def test_damaged_data_or_weights(
    commands: Commands, capsys: pytest.CaptureFixture[str], damage: Callable[[Commands], str]
) -> None:
    said = damage(commands)
    assert commands.run("--strategy", "frozen") == 1
    assert said in one_sentence(capsys.readouterr().out)
    record = commands.record()
    assert record.status == "failed"
    assert record.retry, "it may be mended"
    assert said in str(record.error)
    assert record.environment is not None
    assert record.scores == {}


def test_a_mended_image_is_scored_by_the_same_command(commands: Commands) -> None:
    path = commands.photographs / "JPEGImages" / "car" / "1.jpg"
    sound = path.read_bytes()
    truncate_image(commands)
    assert commands.run("--strategy", "frozen") == 1
    path.write_bytes(sound)
    assert commands.run("--strategy", "frozen") == 0


def test_a_size_that_does_not_fit(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run("--strategy", "frozen", "--image-size", "33") != 0
    captured = capsys.readouterr()
    assert "--image-size 33 is not a multiple of this backbone's stride 8: use 32." in one_sentence(
        captured.out + captured.err
    )


def test_a_strategy_that_does_not_fit_the_backbone(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.run("--strategy", "last_k", assignments=["strategy.k=4"]) == 1
    assert "strategy.k is 4, but this backbone has 3 blocks." in one_sentence(capsys.readouterr().out)


def test_a_loss_that_is_not_finite(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    wild = ["training.steps=5", "training.learning_rate=1e30", "training.warmup=0"]
    assert commands.run("--strategy", "adapter", assignments=wild) == 1
    sentence = one_sentence(capsys.readouterr().out)
    assert "is not finite at step" in sentence
    assert ".jpg -> " in sentence
    assert commands.record().status == "failed"


def test_a_failed_cell_stops_no_other(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    wild = ["training.steps=5", "training.learning_rate=1e30", "training.warmup=0"]
    assert commands.run("--strategy", "adapter", "frozen", assignments=wild) == 1
    assert {record.strategy: record.status for record in commands.records()} == {
        "adapter": "failed",
        "frozen": "ok",
    }
    assert (commands.output / "README.md").is_file()
    assert "Nothing was run." not in capsys.readouterr().out


def broken(*arguments: object, **options: object) -> None:
    raise ZeroDivisionError("of a library,\nin two lines")


def test_a_failure_that_is_not_ours_is_a_record_too(
    commands: Commands, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peftcorr.engine.evaluate.Evaluator.predict", broken)
    assert commands.run("--strategy", "frozen", "lora") == 1
    out = capsys.readouterr().out
    assert out.count("ZeroDivisionError: of a library, in two lines (PEFTCORR_DEBUG=1 shows where)") == 2
    assert [record.status for record in commands.records()] == ["failed", "failed"]


def test_a_failure_does_not_take_an_earlier_good_record(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.run("--strategy", "frozen") == 0
    path = commands.store.record_path(commands.record().run_id)
    before = path.read_bytes()
    said = truncate_image(commands)
    capsys.readouterr()
    assert commands.run("--strategy", "frozen", "--overwrite", "always") == 1
    assert said in one_sentence(capsys.readouterr().out)
    assert path.read_bytes() == before


def diverge(*arguments: object, **options: object) -> None:
    raise TrainingDiverged("The loss is not finite.")


def test_what_the_recipe_does_stands_and_is_tried_again_as_the_message_says(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("peftcorr.engine.evaluate.Evaluator.predict", diverge)
        assert commands.run("--strategy", "frozen") == 1
    assert not commands.record().retry
    capsys.readouterr()
    assert commands.run("--strategy", "frozen") == 1
    assert "failed before" in (said := capsys.readouterr().out)
    assert "--overwrite failed tries again" in said
    assert commands.run("--strategy", "frozen", "--overwrite", "failed") == 0
    assert commands.record().status == "ok"


def test_an_impossible_combination_stands(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    for said in ("failed: strategy.k is 4", "failed before: strategy.k is 4"):
        assert commands.run("--strategy", "last_k", assignments=["strategy.k=4"]) == 1
        assert said in one_sentence(capsys.readouterr().out)


MACHINE: list[tuple[Exception, str]] = [
    (MemoryError(), "Out of memory (MemoryError"),
    (torch.OutOfMemoryError("CUDA out of memory."), "Out of memory (OutOfMemoryError: CUDA out of memory."),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "lower training.images"),
    (OSError(28, "No space left on device"), "No space left on device"),
    (PermissionError(13, "Permission denied"), "Permission denied"),
    (ConnectionError("Connection closed by peer"), "Connection closed by peer"),
    (PeftCorrError("The disk is full: free some."), "The disk is full: free some."),
]


@pytest.mark.parametrize(("error", "said"), MACHINE, ids=lambda value: type(value).__name__)
def test_what_the_machine_does_is_tried_again_by_the_same_command(
    commands: Commands, capsys: pytest.CaptureFixture[str], error: Exception, said: str
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("peftcorr.engine.evaluate.Evaluator.predict", fail)
        assert commands.run("--strategy", "frozen") == 1
    assert said in capsys.readouterr().out
    record = commands.record()
    assert (record.status, record.retry) == ("failed", True)
    assert said in str(record.error)
    assert commands.run("--strategy", "frozen") == 0
    assert (commands.record().status, commands.record().retry) == ("ok", False)


# SIGTERM


@pytest.mark.parametrize("strategy", ["frozen", "lora"])
def test_sigterm_exits_143_with_a_sentence_and_leaves_no_failure(
    commands: Commands, capsys: pytest.CaptureFixture[str], strategy: str
) -> None:
    def end(*arguments: object, **options: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("peftcorr.engine.evaluate.Evaluator.predict", end)
        assert commands.run("--strategy", strategy) == 143
    kept = (
        "the same command goes on from the last saved state"
        if strategy == "lora"
        else "nothing was saved yet"
    )
    assert one_sentence(capsys.readouterr().err) == f"peftcorr: ended by SIGTERM; {kept}."
    assert commands.records() == []
    assert commands.run("--strategy", strategy) == 0
    assert ("going on from step 2" in capsys.readouterr().out) == (strategy == "lora")


# No network


def test_no_network_for_a_hub_model(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(commands.folder / "empty-hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("PEFTCORR_CACHE", str(commands.folder / "cache"))
    arguments = ["run", "--strategy", "frozen", "--backbone", "dinov2_vits14", "--dataset", "pairs"]
    paths = ["--data-root", str(commands.photographs), "--output", str(commands.output)]
    assert main([*arguments, *paths]) == 2
    sentence = one_sentence(capsys.readouterr().err)
    assert "facebook/dinov2-small could not be fetched from the Hugging Face hub" in sentence
    assert "--weights" in sentence
    assert not commands.output.exists(), "nothing is known to have failed: the same command tries again"

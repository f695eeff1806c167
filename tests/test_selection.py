"""What a run may look at before it is scored: the test split never, the validation split where there is one."""

from __future__ import annotations

import pytest
from PIL import Image

from peftcorr.data.layouts.spair import SpairFolder
from peftcorr.engine.workbench import Workbench
from tests.commanding import Commands
from tests.small_folder import write_folder


def test_nothing_is_selected_on_the_test_split(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the end the test split is read for the digest that names the run, and for nothing else."""
    opened: list[str] = []
    split_of = Workbench.split

    def keeping(self: Workbench, source: object, split: str, *place: object) -> object:
        opened.append(split)
        if split == "test":
            assert list((commands.output / "state").glob("*/step-00000004")), "test is read before the end"
        return split_of(self, source, split, *place)  # type: ignore[arg-type]

    monkeypatch.setattr(Workbench, "split", keeping)
    assert commands.run("--strategy", "lora") == 0
    assert list(dict.fromkeys(opened)) == ["trn", "val", "test"]


@pytest.mark.parametrize("where", ["peftcorr.pipeline.Trainer.run", "peftcorr.strategies.lora.Lora.apply"])
def test_a_run_that_asks_for_test_while_it_trains_fails(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def peek(*arguments: object) -> None:
        SpairFolder(SpairFolder.Config(), commands.photographs, commands.folder / "cache").load("test")

    monkeypatch.setattr(where, peek)
    assert commands.run("--strategy", "lora") == 1
    record = commands.record()
    assert (record.status, record.scores) == ("failed", {})
    assert str(record.error).startswith(
        "The test split was asked for before training and selection had ended"
    )
    assert not commands.store.predictions_path(record.run_id).exists()


def test_a_second_cell_cannot_train_on_what_the_first_was_tested_on(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workbench has the test split of the first cell at hand."""
    split = Workbench.split

    def test_for_trn(self: Workbench, section: object, name: str, *place: object) -> object:
        return split(self, section, "test" if name == "trn" else name, *place)  # type: ignore[arg-type]

    monkeypatch.setattr(Workbench, "split", test_for_trn)
    assert commands.run("--strategy", "frozen", "lora") == 1
    assert {record.strategy: record.status for record in commands.records()} == {
        "frozen": "ok",
        "lora": "failed",
    }


def test_images_that_were_trained_on_are_named(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    """All splits of the first folder have the same eight photographs; the second has others, and one copy."""
    other = write_folder(commands.folder / "SPair-71k", images=3, seed=5)
    with Image.open(commands.photographs / "JPEGImages" / "car" / "1.jpg") as image:
        with Image.open(other / "JPEGImages" / "bird" / "0.jpg") as replaced:
            size = replaced.size
        image.resize(size).save(other / "JPEGImages" / "bird" / "0.jpg", quality=90)
    roots = ("--data-root", f"pairs={commands.photographs}", f"spair71k={other}")
    assert commands.run("--strategy", "frozen", "lora", "--eval-on", "spair71k", *roots) == 0
    frozen, lora = sorted(commands.records(), key=lambda record: record.strategy)
    assert frozen.leakage is None
    assert lora.leakage is not None
    found = {name: (leak.tested_images, leak.identical, leak.near) for name, leak in lora.leakage.items()}
    assert found == {"photographs/test": (8, 8, 0), "spair71k/test": (6, 0, 1)}
    assert lora.leakage["spair71k/test"].examples == [["car/1.jpg", "bird/0.jpg"]]
    said = capsys.readouterr().out
    assert "Warning: 8 of the 8 images of photographs/test were trained on" in said
    assert "Warning: 1 of the 6 images of spair71k/test were trained on (0 the same, 1 saved again" in said


def test_a_folder_with_a_test_split_alone_can_be_scored(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("trn", "val"):
        (commands.photographs / "Layout" / "large" / f"{split}.txt").unlink()
    assert commands.run("--strategy", "frozen") == 0
    assert commands.record().status == "ok"
    capsys.readouterr()
    assert commands.run("--strategy", "lora") == 2
    said = capsys.readouterr().err.strip()
    assert (
        "'pairs' has no trn split (it has test): train on another and score this one with --eval-on." in said
    )
    assert "\n" not in said


def test_without_a_val_split_the_last_step_counts_and_that_is_said(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = commands.photographs / "Layout" / "large"
    listed = (layout / "val.txt").read_text()
    (layout / "val.txt").unlink()
    assert commands.run("--strategy", "lora") == 0
    record = commands.record()
    assert (record.validation, record.best_step, record.unselected) == ([], 4, True)
    said = " ".join(capsys.readouterr().out.split())
    assert "has no val split: nothing selects a step, and the last one is kept" in said
    assert "no validation: last step" in (commands.store.root / "README.md").read_text()

    (layout / "validation.txt").write_text(listed)  # as others call it
    assert commands.run("--strategy", "lora") == 0
    [selected] = [found for found in commands.records() if found.run_id != record.run_id]
    assert selected.validation
    assert "unselected" not in selected.model_dump()
    assert "nothing selects" not in capsys.readouterr().out

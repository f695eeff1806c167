"""A disk without room, or a folder that cannot be written, is one sentence; the same command goes on afterwards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from peftcorr.machine.folders import Place
from tests.commanding import QUICK, Commands, one_sentence, scores

# A full disk


def full_disk(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    """No room for a file in `folder` of the output."""
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if Path(target).parent.name == folder:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)


@pytest.mark.parametrize("folder", ["records", "predictions", "adapters"])
@pytest.mark.parametrize("earlier", [True, False])
def test_a_full_disk(
    commands: Commands, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: str,
    earlier: bool,
) -> None:  # fmt: skip
    if earlier:
        assert commands.run("--strategy", "lora") == 0
    before = {path: path.read_bytes() for path in commands.output.glob("records/*.json")}
    capsys.readouterr()
    full_disk(monkeypatch, folder)
    assert commands.run("--strategy", "lora", "--overwrite", "always") != 0
    captured = capsys.readouterr()
    assert "No space left on device" in one_sentence(captured.out + captured.err)
    for path, content in before.items():
        assert path.read_bytes() == content
    assert not [path for path in commands.output.rglob(".*") if path.is_file()], "half a file is left"
    monkeypatch.undo()
    assert commands.run("--strategy", "lora", *(["--overwrite", "always"] if earlier else [])) == 0
    assert commands.record().status == "ok"


def test_a_disk_that_fills_up_while_the_record_is_written(
    commands: Commands, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert commands.run("--strategy", "frozen") == 0
    path = commands.store.record_path(commands.record().run_id)
    before = path.read_bytes()
    capsys.readouterr()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert commands.run("--strategy", "frozen", "--overwrite", "always") != 0
    captured = capsys.readouterr()
    assert "No space left on device" in captured.out + captured.err
    assert "Traceback" not in captured.out + captured.err
    assert path.read_bytes() == before


@pytest.mark.parametrize("where", ["peftcorr.pipeline.save_file", "peftcorr.engine.checkpoint.save_file"])
def test_safetensors_says_a_full_disk_its_own_way(
    commands: Commands, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Its error is no OSError."""

    def full(*arguments: object, **options: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(where, full)
    assert commands.run("--strategy", "lora") == 1
    assert "No space left on device" in one_sentence(capsys.readouterr().out)


def test_a_full_disk_in_training_is_gone_on_from_the_last_state(
    commands: Commands, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert commands.run("--strategy", "lora") == 0
    expected = commands.record()
    commands.output = commands.folder / "full"
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if "step-00000004" in str(target):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    assert commands.run("--strategy", "lora") == 1
    capsys.readouterr()
    monkeypatch.undo()
    assert commands.run("--strategy", "lora") == 0
    assert "train: going on from step 2 of 4" in capsys.readouterr().out
    assert scores(commands.record()) == scores(expected)


# Folders that cannot take what a run writes: exit code 2, before anything is rendered or trained


def test_a_folder_that_cannot_be_written(
    commands: Commands, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (commands.folder / "in-the-way").write_text("")
    wrong = commands.folder / "in-the-way" / "folder"
    refused = "Not a directory. Make it writable, free some space, or"

    def no_work(*arguments: object) -> None:
        raise AssertionError("something is read")

    monkeypatch.setattr("peftcorr.sweep.cells.cells", no_work)
    assert commands.run("--output", str(wrong)) == 2
    sentence = one_sentence(capsys.readouterr().err)
    assert f"Cannot write to the output folder {wrong}: {refused} choose another --output." in sentence
    with monkeypatch.context() as patch:
        patch.setenv("TMPDIR", str(wrong))
        assert commands.run() == 2
    sentence = one_sentence(capsys.readouterr().err)
    assert f"Cannot write to the temporary folder {wrong}: {refused} set TMPDIR to another." in sentence
    commands.folder = commands.folder / "in-the-way"
    assert commands.run() == 2
    sentence = one_sentence(capsys.readouterr().err)
    assert f"{commands.folder / 'cache'}: {refused} set PEFTCORR_CACHE to another." in sentence


@pytest.mark.parametrize(
    ("disk", "said"),
    [
        (
            "out",
            "The output folder {} has 0.10 MB free, but about 0.52 MB will be written: free some space, or choose",
        ),
        (
            "tmp",
            "The temporary folder {} has 0.02 MB free, but about 0.03 MB will be written: free some space, or set",
        ),
        (
            "cache",
            "The cache folder {} has 0.02 MB free, but about 0.03 MB will be written: free some space, or set",
        ),
    ],
)
def test_a_disk_without_room(
    commands: Commands, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, disk: str, said: str
) -> None:  # fmt: skip
    """Two cells' adapters and one's states; what the first block makes of trn and val, for one cell or for both."""
    small = commands.folder / disk
    small.mkdir(exist_ok=True)
    monkeypatch.setenv("TMPDIR", str(commands.folder / "tmp") if disk == "tmp" else str(commands.folder))
    free, device = Place.free, Place.disk
    left = 100_000 if disk == "out" else 20_000
    monkeypatch.setattr(Place, "free", lambda place: left if place.path == small else free(place))
    monkeypatch.setattr(Place, "disk", lambda place: -1 if place.path == small else device(place))
    flags = ("--strategy", "last_k", "--seed", "0", *(() if disk == "tmp" else ("1",)))
    assignments = QUICK if disk == "out" else [*QUICK, "strategy.k=2"]
    assert commands.run(*flags, assignments=assignments) == 2
    assert said.format(small) in one_sentence(capsys.readouterr().err)
    assert not commands.records()
    left = 10_000_000
    assert commands.run(*flags, assignments=assignments) == 0

"""What the runs of a sweep have in common is computed once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from peftcorr.backbones.base import Backbone
from peftcorr.features.cache import make_room
from peftcorr.features.encode import Encoder
from tests.commanding import Commands, scores

RATES = ("--vary", "training.learning_rate=0.001,0.01")
IMAGES = 8  # of trn and val, which are the same here


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images went through frozen blocks alone, of each run from here on."""
    found: list[int] = []
    state = Encoder._state

    def counted(self: Encoder, *given: Any) -> Any:
        before = self.prefix_forwards
        result = state(self, *given)
        found.append(self.prefix_forwards - before)
        return result

    monkeypatch.setattr(Encoder, "_state", counted)
    return found


def test_frozen_blocks_are_run_once_for_all_seeds_and_rates(
    commands: Commands,
    passed: list[int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags = ("--strategy", "last_k", "--seed", "0", "1", *RATES)
    assert commands.run(*flags, "--dry-run") == 0
    assert "What frozen blocks give is computed once" in capsys.readouterr().out
    assert commands.run("--strategy", "last_k", "--seed", "0") == 0
    alone, once = commands.record(), sum(passed)
    passed.clear()
    commands.output = commands.folder / "together"
    assert commands.run(*flags) == 0
    assert sum(passed) <= IMAGES, "each image once at most, of four runs"
    assert sum(passed) >= once
    assert "Shared blocks: 0 of " in capsys.readouterr().out
    first = commands.records()
    commands.output = commands.folder / "again"
    passed.clear()
    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "images", lambda *_: pytest.fail("an image is encoded from its pixels"))
        assert commands.run(*flags) == 0
    assert sum(passed) == 0, "another sweep has them too, for scoring as for training"
    assert [scores(record) for record in commands.records()] == [scores(record) for record in first]
    commands.output = commands.folder / "each"
    shutil.rmtree(commands.folder / "cache" / "prefixes")
    for seed in ("0", "1"):
        for rate in ("0.001", "0.01"):
            assert (
                commands.run(
                    "--strategy", "last_k", "--seed", seed, "--vary", f"training.learning_rate={rate}"
                )
                == 0
            )
    assert not (commands.folder / "cache" / "prefixes").exists(), "a run alone keeps nothing"
    each = {record.run_id: record for record in commands.records()}
    assert {r.run_id: scores(r) for r in first} == {run_id: scores(r) for run_id, r in each.items()}
    assert alone.run_id not in each


def test_what_is_trained_decides_nothing_and_what_is_frozen_does(
    commands: Commands, passed: list[int]
) -> None:
    """LoRA's matrices in the last block are drawn by the seed; those of other blocks are other frozen blocks."""
    blocks = ["training.steps=4", "training.images=3", "strategy.blocks=[-1]"]
    assert commands.run("--strategy", "lora", "--seed", "0", "1", assignments=blocks) == 0
    [folder] = (commands.folder / "cache" / "prefixes").iterdir()
    assert 0 < sum(passed) <= IMAGES
    blocks[-1] = "strategy.blocks=[-2]"
    assert commands.run("--strategy", "lora", "--seed", "0", "1", assignments=blocks) == 0
    assert len(list(folder.parent.iterdir())) == 2


def test_a_changed_image_is_run_again(commands: Commands, passed: list[int]) -> None:
    flags = ("--strategy", "last_k", "--seed", "0", "1")
    assert commands.run(*flags) == 0
    before = sum(passed)
    passed.clear()
    for path in commands.photographs.rglob("*.jpg"):
        path.write_bytes(path.read_bytes() + b"\0")
    assert commands.run(*flags) == 0
    assert sum(passed) == before


def test_frozen_seeds_share_their_features(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    features = Backbone.forward

    def counted(self: Backbone, images: Any, *given: Any) -> Any:
        encoded.append(len(images))
        return features(self, images, *given)

    monkeypatch.setattr(Backbone, "forward", counted)
    assert commands.run("--strategy", "frozen", "--seed", "0") == 0
    once = sum(encoded)
    encoded.clear()
    commands.output = commands.folder / "together"
    assert commands.run("--strategy", "frozen", "--seed", "0", "1", "2") == 0
    assert sum(encoded) == once


def test_a_limit(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--strategy", "last_k", "--seed", "0", "1")
    assert commands.run(*flags, "--cache-limit", "1KiB") == 0
    assert (
        "more than --cache-limit allows: raise it. Until then every run computes it again."
        in capsys.readouterr().out
    )
    assert not list((commands.folder / "cache").glob("prefixes/*"))


def test_frozen_cells_go_on_without_room(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody asked them to keep anything."""
    ended = commands.swept({"seed": 0}, {"seed": 1}, cache_limit=1024)
    assert [one.status for one in ended] == ["ran", "ran"]
    assert "Until then every run computes it again." in " ".join(capsys.readouterr().out.split())
    assert not list((commands.folder / "cache").glob("features/*"))


def test_what_was_used_least_of_late_makes_room(tmp_path: Path) -> None:
    import os

    for number, name in enumerate(("features/old", "prefixes/newer", "features/spared")):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "a.safetensors").write_bytes(bytes(100))
        os.utime(folder, (number, number))
    make_room(tmp_path, 250, tmp_path / "features/spared")
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["newer", "spared"]
    make_room(tmp_path, 0, tmp_path / "features/spared")
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["spared"]

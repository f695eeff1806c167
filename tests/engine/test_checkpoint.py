"""A training that stops anywhere and starts again ends as one that never stopped, bit for bit."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

from peftcorr.engine.checkpoint import Checkpoints
from peftcorr.engine.train import Trained
from peftcorr.errors import PeftCorrError
from peftcorr.machine.termination import Terminated, listening
from tests.engine.building import Job, assert_equal
from tests.engine.killing import COMMON, Killed, count_steps, drop_seconds, kill_at

Ended = tuple[Trained, dict[str, Tensor]]
"""What a training found, and its tensors."""


@pytest.fixture(scope="module")
def unbroken(
    photographs: Path, small_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Ended]:
    """By strategy: a training that nothing stopped."""

    @cache
    def ended(strategy: str) -> Ended:
        job = Job(small_weights, photographs, tmp_path_factory.mktemp("unbroken"), strategy, **COMMON)
        return drop_seconds(job.run()), job.tensors()

    return ended


@pytest.mark.parametrize(
    ("strategy", "options", "training", "step"),
    [
        ("adaptformer", {}, {}, 1),  # its dropout draws random numbers at every step
        ("adaptformer", {}, {}, 6),
        ("adaptformer", {}, {}, 9),
        ("lora", {"dropout": 0.3}, {"sampler": "pairs", "pairs": 3}, 6),
        ("last_k", {}, {}, 5),
        ("adapter", {}, {"accumulation": 2}, 6),
        (
            "adalora",  # remembers which ranks it has taken away
            {"options": {"init_r": 4, "target_r": 1, "tinit": 2, "tfinal": 3}},
            {"accumulation": 2, "validate_every": 10},
            9,
        ),
    ],
)
def test_a_killed_training_ends_as_one_never_killed(
    photographs: Path,
    small_weights: Path,
    tmp_path: Path,
    strategy: str,
    options: dict[str, Any],
    training: dict[str, Any],
    step: int,
    unbroken: Callable[[str], Ended],
) -> None:
    every = {**COMMON, **training}
    if options or training:
        job = Job(small_weights, photographs, tmp_path / "unbroken", strategy, options, **every)
        expected, tensors = drop_seconds(job.run()), job.tensors()
    else:
        expected, tensors = unbroken(strategy)

    job = Job(small_weights, photographs, tmp_path / "killed", strategy, options, **every)
    kill_at(job, step * training.get("accumulation", 1))
    with pytest.raises(Killed):
        job.run()
    saved = job.folder / f"step-{(step - 1) // 2 * 2:08d}"
    assert saved.is_dir() == (step > 2)

    again = Job(small_weights, photographs, tmp_path / "killed", strategy, options, **every)
    found = drop_seconds(again.run())
    assert_equal(again.tensors(), tensors)
    assert found == expected


def test_the_best_step_of_a_killed_process_is_remembered(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([50.0, 40.0, 30.0])
    monkeypatch.setattr("peftcorr.engine.train.validation_pck", lambda data, points: next(scores))
    every = {"steps": 6, "checkpoint_every": 2, "validate_every": 2}
    job = Job(small_weights, photographs, tmp_path, **every)
    kill_at(job, 4)
    with pytest.raises(Killed):
        job.run()
    best = load_file(job.folder / "step-00000002" / "best.safetensors")
    again = Job(small_weights, photographs, tmp_path, **every)
    assert again.run().best_step == 2
    assert_equal(again.tensors(), best)


def test_only_the_adapter_and_only_the_newest_state_are_kept(
    photographs: Path, small_weights: Path, tmp_path: Path
) -> None:
    job = Job(small_weights, photographs, tmp_path, "lora", **COMMON)
    job.run()
    assert [path.name for path in job.folder.iterdir()] == ["step-00000010"]
    kept = load_file(job.folder / "step-00000010" / "adapter.safetensors")
    assert kept.keys() == job.tensors().keys()
    assert not list(job.folder.rglob("model*"))
    bytes_of_adapter = 4 * sum(tensor.numel() for tensor in kept.values())
    assert sum(path.stat().st_size for path in job.folder.rglob("*.*")) < 4 * bytes_of_adapter + 60_000


def test_a_finished_training_is_not_done_again(
    photographs: Path, small_weights: Path, tmp_path: Path
) -> None:
    first = Job(small_weights, photographs, tmp_path, **COMMON)
    expected = drop_seconds(first.run())
    again = Job(small_weights, photographs, tmp_path, **COMMON)
    kill_at(again, 1)
    assert drop_seconds(again.run()) == expected
    assert_equal(again.tensors(), first.tensors())


def test_a_half_written_state_is_not_read(
    photographs: Path,
    small_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unbroken: Callable[[str], Ended],
) -> None:
    job = Job(small_weights, photographs, tmp_path / "killed", "adaptformer", **COMMON)
    save = Checkpoints._before_save

    def dying(self: Checkpoints, *arguments: Any) -> None:
        save(self, *arguments)
        if self._state.step == 6:
            raise Killed

    monkeypatch.setattr(Checkpoints, "_before_save", dying)
    with pytest.raises(Killed):
        job.run()
    monkeypatch.undo()
    assert (job.folder / ".writing-00000006").is_dir()
    again = Job(small_weights, photographs, tmp_path / "killed", "adaptformer", **COMMON)
    again.run()
    assert_equal(again.tensors(), unbroken("adaptformer")[1])
    assert [path.name for path in again.folder.iterdir()] == ["step-00000010"]


@pytest.mark.parametrize("name", ["adapter.safetensors", "optimizer.bin", "manifest.json"])
def test_a_damaged_state_is_set_aside_and_said(
    photographs: Path,
    small_weights: Path,
    tmp_path: Path,
    name: str,
    unbroken: Callable[[str], Ended],
    said: list[str],
) -> None:
    expected, tensors = unbroken("lora")
    job = Job(small_weights, photographs, tmp_path / "damaged", **COMMON)
    kill_at(job, 6)
    with pytest.raises(Killed):
        job.run()
    path = job.folder / "step-00000004" / name
    path.write_bytes(path.read_bytes()[:100])
    again = Job(small_weights, photographs, tmp_path / "damaged", **COMMON)
    kill_at(again, 2)
    with pytest.raises(Killed):
        again.run()
    [line] = [line for line in said if "step-00000004 is damaged" in line]
    assert "set aside and not used" in line
    assert "\n" not in line
    assert [path.name.partition("-step")[0] for path in job.folder.iterdir()] == [".damaged"]
    last = Job(small_weights, photographs, tmp_path / "damaged", **COMMON)
    assert drop_seconds(last.run()) == expected
    assert_equal(last.tensors(), tensors)


def test_an_older_sound_state_is_gone_on_from(
    photographs: Path, small_weights: Path, tmp_path: Path, said: list[str]
) -> None:
    job = Job(small_weights, photographs, tmp_path, **COMMON)
    kill_at(job, 6)
    with pytest.raises(Killed):
        job.run()
    (job.folder / "step-00000006").mkdir()  # of a disk that lost what was in it
    Job(small_weights, photographs, tmp_path, **COMMON).run()
    assert "train: going on from step 4 of 10" in said


# SIGTERM


def test_sigterm_in_a_step_loses_none(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = {**COMMON, "checkpoint_every": 100}
    unbroken = Job(small_weights, photographs, tmp_path / "unbroken", "adaptformer", **every)
    expected = drop_seconds(unbroken.run())
    job = Job(small_weights, photographs, tmp_path / "ended", "adaptformer", **every)
    sampler = job.trainer.sampler
    batch = sampler.batch

    def ending(draw: int) -> Any:
        if draw == 6:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)  # a second one changes nothing
        return batch(draw)

    sampler.batch = ending  # type: ignore[method-assign]
    with listening(), pytest.raises(Terminated):
        job.run()
    assert [path.name for path in job.folder.iterdir()] == ["step-00000007"]
    steps = count_steps(monkeypatch)
    again = Job(small_weights, photographs, tmp_path / "ended", "adaptformer", **every)
    assert drop_seconds(again.run()) == expected
    assert steps == [7, 8, 9]
    assert_equal(again.tensors(), unbroken.tensors())


def test_sigterm_in_a_validation_loses_no_step_and_no_point_of_the_curve(
    photographs: Path,
    small_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unbroken: Callable[[str], Ended],
) -> None:
    expected, tensors = unbroken("lora")

    def ending(data: object, points: object) -> float:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it went on")

    with monkeypatch.context() as patch:
        patch.setattr("peftcorr.engine.train.validation_pck", ending)
        job = Job(small_weights, photographs, tmp_path / "ended", **COMMON)
        with listening(), pytest.raises(Terminated):
            job.run()
        [state] = job.folder.iterdir()
        written = state.stat().st_ino
        job = Job(small_weights, photographs, tmp_path / "ended", **COMMON)
        with listening(), pytest.raises(Terminated):
            job.run()
        assert state.stat().st_ino == written, "the only good state was deleted, to write the same again"
    steps = count_steps(monkeypatch)
    again = Job(small_weights, photographs, tmp_path / "ended", **COMMON)
    assert drop_seconds(again.run()) == expected
    assert steps == list(range(4, 10))
    assert_equal(again.tensors(), tensors)


def test_a_state_of_other_options_is_refused(photographs: Path, small_weights: Path, tmp_path: Path) -> None:
    Job(small_weights, photographs, tmp_path, "lora", **COMMON).run()
    with pytest.raises(PeftCorrError, match=r"another strategy or options|its options differ"):
        Job(small_weights, photographs, tmp_path, "lora", {"rank": 2}, **COMMON).run()


def test_a_full_disk_keeps_the_state_before(
    photographs: Path,
    small_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unbroken: Callable[[str], Ended],
) -> None:
    job = Job(small_weights, photographs, tmp_path / "full", **COMMON)
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if "00000006" in str(target):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(PeftCorrError, match=r"Cannot write the training state .*No space left"):
        job.run()
    monkeypatch.undo()
    assert [path.name for path in job.folder.iterdir()] == ["step-00000004"], (
        "what was half written is in the way"
    )
    again = Job(small_weights, photographs, tmp_path / "full", **COMMON)
    again.run()
    assert_equal(again.tensors(), unbroken("lora")[1])

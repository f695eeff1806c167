"""What trackers are told of a training: its own curves, once each, whatever becomes of it or of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peftcorr.engine.train import Trained
from tests.engine.building import Job, assert_equal
from tests.engine.killing import Killed, drop_seconds, kill_at
from tests.tracked import Told, pretend

Curve = list[tuple[int, float]]
FEW: dict[str, Any] = {"steps": 6, "images": 2, "checkpoint_every": 2, "validate_every": 3}


def losses(job: Job, first: int = 1) -> Curve:
    return list(enumerate(job.trainer.losses, start=first))


def validated(trained: Trained) -> Curve:
    return [(point.step, point.pck) for point in trained.validation]


def test_a_tracker_is_told_of_every_step_and_validation(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = pretend("trackio", monkeypatch)
    every = {**FEW, "accumulation": 2, "gradient_clip": 1e-3}
    job = Job(small_weights, photographs, tmp_path, track=["trackio"], **every)
    trained = job.run()
    [run] = runs
    assert run.curves["train/loss"] == losses(job)
    assert run.curves["validation/pck_0.1"] == validated(trained)
    rates = [rate for _, rate in run.curves["train/learning_rate"]]
    assert (rates[0], max(rates)) == (0, 3e-3), "warmed up from nothing"
    assert rates[-1] < rates[len(rates) // 2], "and down again"
    assert min(norm for _, norm in run.curves["train/gradient_norm"]) > 1e-3, "before it is clipped"
    assert all(speed > 0 for _, speed in run.curves["train/pairs_per_second"])
    assert all(memory > 1 << 20 for _, memory in run.curves["train/peak_memory_bytes"])
    assert run.closed
    assert run.config["training.loss.distance"] == 1, "the recipe, flat"


def test_a_search_is_no_part_of_the_curves(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = pretend("trackio", monkeypatch)
    search = {"learning_rates": [1e-3, 3e-3], "steps": 2}
    job = Job(small_weights, photographs, tmp_path, track=["trackio"], search=search, learning_rate=None)
    trained = job.run()
    [run] = runs
    assert run.curves["train/loss"] == losses(job)
    assert run.curves["validation/pck_0.1"] == validated(trained)


def test_a_resumed_training_goes_on_in_the_same_run(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = pretend("wandb", monkeypatch)
    unbroken = Job(small_weights, photographs, tmp_path / "unbroken", track=["wandb"], **FEW)
    trained = unbroken.run()
    for step in (2, 4):  # before a state was saved, and after
        job = Job(small_weights, photographs, tmp_path / "killed", track=["wandb"], **FEW)
        kill_at(job, step)
        with pytest.raises(Killed):
            job.run()
    Job(small_weights, photographs, tmp_path / "killed", track=["wandb"], **FEW).run()
    whole, *parts = runs
    assert len({run.options["id"] for run in parts}) == 1
    assert parts[0].options["id"] != whole.options["id"]
    assert [bool(run.config) for run in parts] == [True, False, False]
    # What is told twice is the same, so the curve is one.
    told = dict(point for run in parts for point in run.curves["train/loss"])
    assert sorted(told.items()) == losses(unbroken)
    seen = dict(point for run in parts for point in run.curves.get("validation/pck_0.1", []))
    assert sorted(seen.items()) == validated(trained)


@pytest.mark.parametrize("fails", ["start", "log"])
def test_a_tracker_that_fails_takes_neither_training_nor_other_trackers_with_it(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    plain = Job(small_weights, photographs, tmp_path / "plain", **FEW)
    expected = drop_seconds(plain.run())
    broken, sound = pretend("wandb", monkeypatch, fails), pretend("trackio", monkeypatch)
    job = Job(small_weights, photographs, tmp_path / "tracked", track=["wandb", "trackio"], **FEW)
    assert drop_seconds(job.run()) == expected
    assert_equal(job.tensors(), plain.tensors())
    assert job.said == [f"The tracker wandb failed (no answer to {fails}): the training goes on without it."]
    assert broken[0].closed
    assert sound[0].curves["train/loss"] == losses(plain)


def test_what_telling_takes_is_none_of_the_trainings_time(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend("trackio", monkeypatch)
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    def slow(self: Any, values: Any, step: int) -> None:
        clock[0] += 60

    monkeypatch.setattr("accelerate.Accelerator.log", slow)
    job = Job(small_weights, photographs, tmp_path, track=["trackio"], **FEW)
    trained = job.run()
    assert trained.seconds == 0
    assert {point.seconds for point in trained.validation} == {0}


def test_other_processes_than_the_first_tell_nothing(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = pretend("wandb", monkeypatch)  # which Accelerate itself would open in every process
    monkeypatch.setattr("accelerate.Accelerator.is_main_process", property(lambda self: False))
    Job(small_weights, photographs, tmp_path, track=["wandb"]).trainer._trackers.begin(0)  # type: ignore[union-attr]
    assert runs == []


@pytest.fixture
def _mlflow_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is made at once; a database takes MLflow seconds."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlflow").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.mark.usefixtures("_mlflow_in_files")
@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_what_a_real_tracker_shows_of_a_training_that_was_killed(
    photographs: Path, small_weights: Path, tmp_path: Path, name: str
) -> None:
    pytest.importorskip(name, reason=f"{name} is not installed: pip install 'peftcorr[{name}]'")
    job = Job(small_weights, photographs, tmp_path, track=[name], **FEW)
    kill_at(job, 4)
    with pytest.raises(Killed):
        job.run()
    before = losses(job)[:2]  # step 3 was told, and is made again
    again = Job(small_weights, photographs, tmp_path, track=[name], **FEW)
    trained = again.run()
    assert again.said == []
    shown = (_tensorboard if name == "tensorboard" else _mlflow)(tmp_path)
    assert shown.closed
    assert shown.config["training.steps"] in (6, "6")
    exact = {"train/loss": before + losses(again, 3), "validation/pck_0.1": validated(trained)}
    for curve, points in exact.items():
        assert [step for step, _ in shown.curves[curve]] == [step for step, _ in points]
        kind = np.float32 if name == "tensorboard" else np.float64  # as it keeps them
        assert [value for _, value in shown.curves[curve]] == [float(kind(value)) for _, value in points]
    others = ("learning_rate", "gradient_norm", "pairs_per_second", "peak_memory_bytes")
    assert shown.curves.keys() == exact.keys() | {f"train/{other}" for other in others}


def _tensorboard(folder: Path) -> Told:
    import yaml
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    [run] = (folder / "trackers" / "tensorboard").iterdir()
    [config] = run.glob("*/hparams.yml")
    events = EventAccumulator(str(run)).Reload()
    curves = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    return Told(run.name, {}, yaml.safe_load(config.read_text(encoding="utf-8")), curves, closed=True)


def _mlflow(folder: Path) -> Told:
    from mlflow import MlflowClient

    client = MlflowClient()
    [experiment] = client.search_experiments(filter_string="name = 'peftcorr'")
    [run] = client.search_runs([experiment.experiment_id])
    curves = {}
    for metric in run.data.metrics:
        points = {(point.step, point.value) for point in client.get_metric_history(run.info.run_id, metric)}
        curves[metric] = sorted(points) if "second" not in metric else []
    ended = run.info.status == "FINISHED"
    return Told(run.info.run_name, {}, run.data.params, curves, closed=ended)

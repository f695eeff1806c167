"""``peftcorr run --track``: what each cell of a sweep is called, and what is said where a tracker is not there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from peftcorr.cli import main
from peftcorr.errors import PeftCorrError
from peftcorr.machine import trackers
from peftcorr.sweep.job import Job
from tests.commanding import Commands, one_sentence
from tests.tracked import pretend


def test_each_cell_that_trains_is_a_run_of_its_own_and_the_record_knows_nothing_of_it(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = pretend("wandb", monkeypatch)
    assert commands.run("--strategy", "lora", "norm", "frozen", "--track", "wandb", "wandb") == 0
    records = {record.run_id: record for record in commands.records() if record.strategy != "frozen"}
    assert len(runs) == len(records) == 2
    for run in runs:
        record = records[str(run.config["run_id"])]
        assert run.options["name"].endswith(f"seed 0 ({record.run_id})")
        assert record.strategy in run.options["name"]
        assert run.config["strategy.name"] == record.strategy
        assert run.config["training.steps"] == 4
        assert json.loads(run.config["alphas"]) == record.recipe["alphas"]
        assert run.curves["validation/pck_0.1"] == [(point.step, point.pck) for point in record.validation]
        assert [step for step, _ in run.curves["train/loss"]] == [1, 2, 3, 4]
    capsys.readouterr()
    assert commands.run("--strategy", "lora", "norm", "frozen") == 0
    assert capsys.readouterr().out.count("done before, nothing to do") == 3, "the same runs without it"


def test_a_worker_is_told_of_the_trackers(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretend("wandb", monkeypatch)
    sent: list[Job] = []

    def dispatch(plans: object, jobs: list[Job], *more: object) -> list[object]:
        sent.extend(jobs)
        raise KeyboardInterrupt

    monkeypatch.setattr("peftcorr.sweep.dispatch.dispatch", dispatch)
    assert commands.run("--strategy", "frozen", "--workers", "1", "--track", "wandb") == 130
    from peftcorr.console.progress import Progress

    assert sent[0].bench(Progress(None)).track == ("wandb",)


@pytest.mark.parametrize(
    ("name", "absent", "server"),
    [
        ("trackio", "trackio", ""),
        ("mlflow", "mlflow", ""),
        ("mlflow", "alembic", ""),
        ("mlflow", "", "http://a"),
    ],
)
def test_a_tracker_that_is_not_installed_is_said_before_anything_is_loaded(
    name: str, absent: str, server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"mlflow"} if server else {"trackio", "mlflow", "alembic", "sqlalchemy"} - {absent}
    monkeypatch.setattr(trackers, "find_spec", lambda package: object() if package in found else None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    loaded: list[object] = []
    monkeypatch.setattr("peftcorr.commands.run._sweep", lambda parsed: loaded.append(parsed) or 0)
    assert main(["run", "--track", name, "--dry-run"]) == (0 if server else 2)
    if server:
        assert loaded, "a server keeps what needs the other packages"
    else:
        sentence = f"--track {name} needs the package {absent}: pip install 'peftcorr[{name}]'."
        assert one_sentence(capsys.readouterr().err) == f"peftcorr: {sentence}"
        assert not loaded


def test_mlflow_writes_into_the_output_folder_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "environ", {})
    trackers.settle(tmp_path)
    assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setattr(os, "environ", {"MLFLOW_TRACKING_URI": "http://a"})
    trackers.settle(tmp_path)
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://a"


def test_nodes_without_a_common_disk_need_trackers_with_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install 'peftcorr[ray]'")
    from peftcorr.sweep.launchers.ray import _require_servers

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    told = {name: Job.model_construct(track=(name,)) for name in trackers.TRACKERS}
    _require_servers([told["wandb"]])
    for name in ("tensorboard", "mlflow", "trackio"):
        with pytest.raises(PeftCorrError, match=f"--track {name} writes to a disk"):
            _require_servers([told["wandb"], told[name]])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://a")
    _require_servers([told["mlflow"]])

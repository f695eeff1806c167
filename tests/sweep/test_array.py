"""What is ours of the launchers of clusters, without a cluster: a fake SLURM answers, and extras are missing."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.files import read_json, write_json
from peftcorr.registry import Registry
from peftcorr.sweep.job import Job
from peftcorr.sweep.launchers import LAUNCHERS
from peftcorr.sweep.launchers.base import Ending, Share


@pytest.mark.parametrize("name", ["slurm", "ray"])
def test_a_missing_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = f"peftcorr.sweep.launchers.{name}"
    for loaded in [found for found in sys.modules if found == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, {"slurm": "submitit", "ray": "ray"}[name], None)
    fresh: Registry[object] = Registry("launcher", "no.such.group", LAUNCHERS.base)
    fresh.lazy(name, f"{module}:{name.capitalize()}")
    with pytest.raises(PeftCorrError, match=rf"pip install 'peftcorr\[{name}\]'\.$"):
        fresh.get(name)


def jobs(folder: Path, count: int) -> list[Job]:
    return [
        Job(
            recipe={}, run_id=f"{number:016x}", title=f"cell {number}", head=f"[{number}]", overwrite="missing",
            plugins=[], data_roots={}, weights=None, output=folder / "out", cache=folder / "cache", memory=1,
            keep_features=False, shared=False, cache_limit=None, track=(),
        )
        for number in range(count)
    ]  # fmt: skip


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with a SLURM that takes every array as job 7; ``states`` is what squeue says, ``asked`` what was asked."""
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'peftcorr[slurm]'")
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, does in {
        "sbatch": f"cp $1 {folder}/script; [ -f {folder}/refused ] && echo no such partition >&2 && exit 1; "
        "echo Submitted batch job 7",
        "squeue": f"cat {folder}/states",
        "scancel": f"echo $* >>{folder}/cancelled; echo >{folder}/states",
        "srun": "exit 1",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{does}\n")
        (folder / name).chmod(0o755)
    (folder / "states").write_text("")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    for name, seconds in (("_ASK_EVERY", 0.0), ("_LATE", 0.0), ("TICK", 0.01)):
        monkeypatch.setattr(f"peftcorr.sweep.launchers.slurm.{name}", seconds)
    return folder


def launcher(workers: int = 2, **options: object):  # type: ignore[no-untyped-def]
    cls = LAUNCHERS.get("slurm")
    return cls(cls.Config(**options), Share(workers))  # type: ignore[arg-type]


def test_an_array_is_asked_for_and_its_endings_are_told(slurm: Path, tmp_path: Path) -> None:
    cells = jobs(tmp_path, 3)
    options = {"partition": "gpu", "time": 30, "gpus_per_node": 1, "cpus_per_task": 4, "more": {"nice": 5}}
    (slurm / "states").write_text("7_0 RUNNING\n7_1 PENDING\n7_2 PENDING\n")
    endings = launcher(**options).endings(cells)
    assert next(endings) is None
    script = (slurm / "script").read_text()
    for line in (
        "partition=gpu",
        "time=30",
        "gpus-per-node=1",
        "cpus-per-task=4",
        "nice=5",
        "requeue",
        "signal=USR2@90",
    ):
        assert f"#SBATCH --{line}\n" in script
    assert "#SBATCH --array=0-2%2\n" in script
    assert "srun --unbuffered" in script
    assert script.count("--cpus-per-task=4") == 2, "srun has to be told too"
    logs = tmp_path / "out" / "logs"
    assert len(list(logs.glob("*.job.json"))) == 3
    assert len(list((logs / "slurm").glob("*_submitted.pkl"))) == 3

    [file] = logs.glob(f"{cells[1].run_id}.*.job.json")
    ended = file.name.replace(".job.", ".ended.")
    write_json(logs / "slurm" / ended, {"code": 1, "host": "n3", "how": ""})
    (logs / "slurm" / "7_1_0_result.pkl").touch()
    (slurm / "states").write_text("7_0 RUNNING\n7_1 COMPLETED\n7_2 CANCELLED\n")
    found = [ending for ending in (next(endings) for _ in range(4)) if ending is not None]
    assert [(one.job.title, one.code, one.where) for one in found] == [
        ("cell 1", 1, "n3"),
        ("cell 2", 143, ""),
    ]
    assert "its SLURM job 7_2 is cancelled, and the cell is not done" in found[1].said()
    assert not (slurm / "cancelled").exists()
    endings.close()
    assert (slurm / "cancelled").read_text() == "7\n"
    assert list(logs.glob("*.job.json")) == []
    assert list((logs / "slurm").glob("*")) == []


def test_a_controller_that_does_not_answer_is_waited_for(slurm: Path, tmp_path: Path) -> None:
    [job] = jobs(tmp_path, 1)
    (slurm / "squeue").write_text(
        "#!/bin/sh\necho slurm_load_jobs error: Unable to contact controller >&2; exit 1\n"
    )
    endings = launcher().endings([job])
    assert [next(endings) for _ in range(5)] == [None] * 5
    (slurm / "squeue").write_text(
        "#!/bin/sh\necho slurm_load_jobs error: Invalid job id specified >&2; exit 1\n"
    )
    found = [ending for ending in endings if ending is not None]
    assert [one.said().partition(",")[0] for one in found] == ["its SLURM job 7 is no longer there"]


def test_what_slurm_refuses(slurm: Path, tmp_path: Path) -> None:
    (slurm / "refused").touch()
    with pytest.raises(PeftCorrError, match=r"SLURM takes no jobs from here: .*no such partition"):
        list(launcher().endings(jobs(tmp_path, 2)))
    assert not list((tmp_path / "out" / "logs").glob("*.job.json"))


@pytest.mark.parametrize(("code", "kept"), [(0, 0), (1, 1), (143, None), (-15, None)])
def test_what_goes_on_after_a_requeue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kept: int | None
) -> None:
    """A cell that ended just then is not begun again: its code is left by the requeued job."""
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'peftcorr[slurm]'")
    from peftcorr.sweep.launchers import array_job
    from peftcorr.sweep.launchers.process import JobProcess

    end = f"raise SystemExit({code})" if code >= 0 else "import time; time.sleep(60)"
    monkeypatch.setattr("peftcorr.sweep.launchers.process.command", lambda file, processes: ["-c", end])
    process = JobProcess(tmp_path / "job", tmp_path / "log", 1, 1, signal.SIGUSR2)
    if code >= 0:
        process.wait(30)
    monkeypatch.setattr(array_job._Running, "process", process)
    job = array_job.ArrayJob(tmp_path / "job", tmp_path / "log", tmp_path / "ended.json", 1, 20.0)
    again = job.checkpoint().function
    assert again.code == kept
    if kept is not None:
        again()
        assert read_json(tmp_path / "ended.json")["code"] == kept


def test_an_ending_that_a_launcher_knows_more_of(tmp_path: Path) -> None:
    [job] = jobs(tmp_path, 1)
    assert Ending(job, 143, "n3").said() == "its process ended with the code 143 on n3"
    assert Ending(job, 143, "n3", "SLURM ended it").said() == "SLURM ended it"


def test_clusters_take_all_cells_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from peftcorr.sweep.launchers.base import Launcher
    from peftcorr.sweep.launchers.local import Local

    monkeypatch.setattr("peftcorr.sweep.launchers.local.gpus", lambda: list("01234567"))
    assert [Local.at_a_time(processes) for processes in (1, 2, 9)] == [8, 4, 1]
    assert Launcher.at_a_time(2) is None

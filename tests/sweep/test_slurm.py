"""A sweep as an array of a real SLURM, controller and node on this machine; and what needs none of that."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from peftcorr.results.store import Store
from peftcorr.results.verify import WHOLE, verify
from tests.commanding import PLAIN, PLUGIN, PROJECT, Commands, scores
from tests.sweep.doomed import DOOM

DOOMED = Path(__file__).with_name("doomed.py")
STEPS = ("training.steps=16", "training.images=3", "training.validate_every=2", "training.checkpoint_every=2")
SCRIPT = (
    Path(os.environ.get("PEFTCORR_SHARED") or PROJECT.parent / "shared") / "tools" / "slurm_one_machine.sh"
)
DRIVERS: list[subprocess.Popen[str]] = []


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A controller and a node, whose jobs share the cores."""
    if not SCRIPT.is_file():
        pytest.skip(
            f"no script that starts a SLURM on one machine: {SCRIPT} (PEFTCORR_SHARED names its folder)"
        )
    if shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("no SLURM on this machine: apt-get install slurm-wlm")
    if os.geteuid() != 0:
        pytest.skip("only root can start a SLURM")
    folder = tmp_path / "slurm"
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin")
    started = subprocess.run(["bash", SCRIPT, "start", folder], capture_output=True, text=True, timeout=120)
    try:
        assert "idle" in started.stderr, started.stderr
        subprocess.run(["bash", SCRIPT, "stop", folder], check=True)
        # A requeued job waits until its credentials have expired, two minutes unless told otherwise.
        with (folder / "slurm.conf").open("a") as stream:
            stream.write("AuthInfo=cred_expire=15\n")
        for daemon in ("slurmctld", "slurmd"):
            until = time.monotonic() + 60
            while subprocess.run([daemon], capture_output=True, check=False).returncode:
                assert time.monotonic() < until, f"{daemon} does not start again"
                time.sleep(1)
        asked("scontrol", "update", "PartitionName=main", "OverSubscribe=FORCE:2")
        yield
    finally:
        for driver in DRIVERS:
            driver.kill()
        DRIVERS.clear()
        asked("scancel", "--user", "root")
        until = time.monotonic() + 60
        while asked("squeue", "--noheader") and time.monotonic() < until:
            time.sleep(1)
        subprocess.run(["bash", SCRIPT, "stop", folder], check=False)


def asked(*command: str) -> str:
    """What one of SLURM's commands answers."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


class Sweep:
    """Cells of `doomed` and others under way; those that end ``late`` take a minute as long as the doom is there."""

    def __init__(self, commands: Commands, *more: str):
        self.commands, self.doom = commands, commands.folder / "doom"
        self.doom.touch()
        plugins = ["--plugin", str(PLUGIN), "--plugin", str(DOOMED)]
        self.arguments = commands.arguments(
            *plugins, "--vary", "strategy.end=well,late", *more, assignments=STEPS
        )
        self.environment = commands.environment(**{DOOM: str(self.doom), "COLUMNS": "400"})

    def start(self, *launcher: str) -> subprocess.Popen[str]:
        """The driver, as a process of its own."""
        command = [sys.executable, *PLAIN, *self.arguments, *launcher]
        driver = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=PROJECT, env=self.environment
        )  # fmt: skip
        DRIVERS.append(driver)
        return driver

    def late(self, step: int) -> list[tuple[str, str]]:
        """Run id and SLURM job of each late cell that runs and has come so far."""
        found = []
        store = self.commands.store
        for claim in (store.root / "records").glob(".*.claim"):
            run_id = claim.name[1:].partition(".")[0]
            worker = store.worker(run_id)
            if worker is None or not worker.what.startswith("train") or not step <= worker.done < 15:
                continue
            try:
                job = psutil.Process(worker.process).environ().get("SLURM_JOB_ID", "")
                if "end=late" in " ".join(store.log_path(run_id).read_text().split()):
                    found.append((run_id, job))
            except psutil.Error:  # it has just ended
                continue
        return found


def wait_for(what: Callable[[], object], seconds: float, driver: subprocess.Popen[str]) -> None:
    """Until `what` holds, as long as the driver runs."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, asked("squeue", "--array")
        assert driver.poll() is None, driver.communicate()[0]
        time.sleep(1)


@pytest.mark.cluster
def test_requeued_by_a_signal_and_by_a_time_limit(slurm: None, commands: Commands) -> None:
    """Eight cells, of which one is told to make room and one takes longer than a job may; scores as ever."""
    sweep = Sweep(commands, "--strategy", "doomed", "lora", "frozen", "--seed", "0", "1")
    driver = sweep.start(
        "--workers", "2", "--launcher", "slurm", "--launcher-set", "time=1", "signal_delay_s=5"
    )
    signalled: dict[str, str] = {}
    requeued: set[str] = set()

    def both() -> bool:
        for run_id, job in sweep.late(4):
            if not signalled:
                signalled[run_id] = job
                asked("scancel", "--signal=TERM", job)
        for path in (commands.output / "logs" / "slurm").glob("*.out"):
            with suppress(FileNotFoundError):  # those of a cell that is done go
                if "Requeued job" in path.read_text():
                    requeued.add(path.name)
        return len(requeued) >= 2

    wait_for(both, 400, driver)
    sweep.doom.unlink()
    wait_for(lambda: len(list((commands.output / "records").glob("*.json"))) == 8, 400, driver)
    said, _ = driver.communicate(timeout=600)
    assert driver.returncode == 0, said
    assert said.count(": done\n") == 8, said

    store = commands.store
    logs = {path.stem: path.read_text() for path in (store.root / "logs").glob("*.log")}
    resumed = {run_id for run_id, text in logs.items() if "going on from step" in text}
    assert len(logs) == 8
    assert len(resumed) >= 2
    assert set(signalled) <= resumed
    assert all(logs[run_id].count("ended by SIGTERM") >= 1 for run_id in resumed)
    assert {one.state for one in verify(store.root)} == {WHOLE}
    assert not list(store.root.glob("logs/*.job.json"))
    assert not list(store.root.glob("logs/slurm/*"))

    unbroken = Store(commands.folder / "unbroken")
    arguments = [str(unbroken.root) if word == str(store.root) else word for word in sweep.arguments]
    assert commands.process(PLAIN, arguments, **{DOOM: str(sweep.doom)}).returncode == 0
    expected = {record.run_id: scores(record) for record in unbroken.records()}
    assert {record.run_id: scores(record) for record in store.records()} == expected
    assert len(expected) == 8


@pytest.mark.cluster
def test_cancelled_for_good_and_left(slurm: None, commands: Commands) -> None:
    """`scancel` ends a cell with a sentence; Ctrl-C cancels the array. Both times its state is kept."""
    sweep = Sweep(commands, "--strategy", "doomed")
    flags = ["--launcher", "slurm", "--launcher-set", "cpus_per_task=1"]
    driver = sweep.start(*flags)
    wait_for(lambda: sweep.late(4), 200, driver)
    [(run_id, job)] = sweep.late(0)
    asked("scancel", job)
    said, _ = driver.communicate(timeout=600)
    assert driver.returncode == 1, said
    assert "failed: its SLURM job" in said
    assert "is cancelled, and the cell is not done" in said
    assert commands.store.can_resume(run_id)

    driver = sweep.start(*flags)
    wait_for(lambda: sweep.late(4), 200, driver)
    before = sorted(commands.store.state_path(run_id).glob("step-*"))
    driver.send_signal(signal.SIGINT)
    said, _ = driver.communicate(timeout=600)
    assert driver.returncode == 130, said
    assert "the same command goes on from the last saved state (1 of 2 cells are done)" in said
    assert sorted(commands.store.state_path(run_id).glob("step-*")) > before
    assert asked("squeue", "--noheader", "--states", "PENDING,RUNNING").strip() == ""
    log = commands.store.log_path(run_id).read_text()
    assert log.count("going on from step") == 1
    assert log.count("ended by SIGTERM") == 2

"""A sweep on a real Ray cluster: two nodes on this machine, in folders of their own, with nothing in common."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from peftcorr.results.store import Store
from peftcorr.results.verify import WHOLE, verify
from tests.commanding import PLAIN, PLUGIN, PROJECT, QUICK, Commands, scores
from tests.sweep.doomed import DOOM

DOOMED = Path(__file__).with_name("doomed.py")
PLUGINS = ("--plugin", str(PLUGIN), "--plugin", str(DOOMED))
LATE = (
    "strategy.end=late",
    "training.steps=20",
    "training.images=3",
    "training.validate_every=2",
    "training.checkpoint_every=2",
)


DRIVERS: list[subprocess.Popen[str]] = []


class Node:
    """A node in a folder of its own: its working folder, its temporary files, its cache."""

    def __init__(self, folder: Path, *arguments: str, **environment: str):
        self.folder = folder
        (folder / "tmp").mkdir(parents=True)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "RAY_", "PEFTCORR_"))}
        own = {
            "TMPDIR": str(folder / "tmp"), "PEFTCORR_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1",
            "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(PROJECT), **environment,
        }  # fmt: skip
        ray = [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--block",
            "--num-cpus=1",
            "--num-gpus=0",
        ]
        with (folder / "printed").open("wb") as stream:
            self.process = subprocess.Popen(
                [*ray, "--object-store-memory=100000000", "--disable-usage-stats", *arguments],
                cwd=folder, env={**kept, **own}, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """End all of it at once, as when the power goes."""
        for process in (*psutil.Process(self.process.pid).children(recursive=True), self.process):
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                process.kill()
        self.process.wait()

    def printed(self) -> str:
        return (self.folder / "printed").read_text(errors="replace")


class Cluster:
    """A head, where the driver stands and no cell runs, and nodes that are added."""

    def __init__(self, folder: Path, environment: dict[str, str]):
        self.folder, self.environment = folder, environment
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.nodes: list[Node] = []
        self.address = f"127.0.0.1:{self.port}"

    def start(self, nodes: int) -> None:
        head = ("--head", f"--port={self.port}", "--node-ip-address=127.0.0.1", "--include-dashboard=false")
        self._add("head", *head, f"--temp-dir={self.folder}/r")
        for number in range(1, nodes):
            self._add(f"node{number}", f"--address={self.address}", f"--node-ip-address=127.0.0.{number + 1}")

    def _add(self, name: str, *arguments: str) -> None:
        node = Node(self.folder / name, *arguments, **self.environment)
        self.nodes.append(node)
        wait_for(lambda: "Ray runtime started" in node.printed(), 120, node.process)

    def stop(self) -> None:
        for node in reversed(self.nodes):
            if node.process.poll() is None:
                node.kill()


@pytest.fixture
def cluster(commands: Commands) -> Iterator[Cluster]:
    """Two nodes with one core each."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed: pip install 'peftcorr[ray]'")
    if sys.platform != "linux":
        pytest.skip("two nodes on one machine need the addresses 127.0.0.1 and 127.0.0.2, as Linux has them")
    short = Path(tempfile.mkdtemp(prefix="ray-"))  # the paths of its sockets may have 107 letters
    made = Cluster(short, {DOOM: str(commands.folder / "doom")})
    try:
        made.start(2)
        yield made
    finally:
        for driver in DRIVERS:
            driver.kill()
        DRIVERS.clear()
        made.stop()
        shutil.rmtree(short, ignore_errors=True)


def wait_for(
    what: Callable[[], object], seconds: float, process: subprocess.Popen[bytes] | subprocess.Popen[str]
) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, "it has ended"
        assert time.monotonic() < until
        time.sleep(0.5)


def started(commands: Commands, cluster: Cluster, arguments: list[str]) -> subprocess.Popen[str]:
    launcher = ["--launcher", "ray", "--launcher-set", f"address={cluster.address}"]
    driver = subprocess.Popen(
        [sys.executable, *PLAIN, *arguments, *launcher],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=PROJECT,
        env=commands.environment(COLUMNS="400", **{DOOM: str(commands.folder / "doom")}),
    )  # fmt: skip
    DRIVERS.append(driver)
    return driver


def unbroken(commands: Commands, arguments: list[str]) -> dict[str, object]:
    """Scores of the same cells, run one after the other by one process."""
    store = Store(commands.folder / "unbroken")
    arguments = [str(store.root) if word == str(commands.output) else word for word in arguments]
    ended = commands.process(PLAIN, arguments, **{DOOM: str(commands.folder / "no doom")})
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return {record.run_id: scores(record) for record in store.records()}


def begun(node: Node) -> set[str]:
    """Run ids of the trainings that have saved a state on a node."""
    return {path.parent.name for path in (node.folder / "tmp").glob("peftcorr-*/output/state/*/step-*")}


@pytest.mark.cluster
def test_eight_cells_come_home(commands: Commands, cluster: Cluster) -> None:
    arguments = commands.arguments(
        *PLUGINS, "--strategy", "doomed", "lora", "ln_tuning", "frozen", "--seed", "0", "1", assignments=QUICK
    )
    driver = started(commands, cluster, arguments)
    said, _ = driver.communicate(timeout=900)
    assert driver.returncode == 0, said
    assert said.count(": done\n") == 8
    store = commands.store
    assert {record.run_id: scores(record) for record in store.records()} == unbroken(commands, arguments)
    assert {one.state for one in verify(store.root)} == {WHOLE}
    assert len(list((store.root / "adapters").glob("*/adapter_config.json"))) == 4, "peft's folders come too"
    assert len(list((store.root / "logs").glob("*.log"))) == 8
    for node in cluster.nodes:
        assert not list((node.folder / "tmp").glob("peftcorr-*")), "nothing is left there"
        assert (node.folder / "cache").is_dir()


@pytest.mark.cluster
def test_a_node_is_killed(commands: Commands, cluster: Cluster) -> None:
    """What it was at is begun again on the other, and comes home like the rest."""
    doom = commands.folder / "doom"
    doom.touch()
    arguments = commands.arguments(
        *PLUGINS, "--strategy", "doomed", "--seed", "0", "1", "2", "3", assignments=LATE
    )
    driver = started(commands, cluster, arguments)
    kept, lost = cluster.nodes
    wait_for(lambda: begun(lost), 600, driver)
    [run_id] = begun(lost)
    lost.kill()
    doom.unlink()
    said, _ = driver.communicate(timeout=900)
    assert driver.returncode == 0, said
    assert said.count(": done\n") == 4
    assert begun(kept) == set()
    assert f"({run_id}): done\n" in said
    assert commands.store.is_whole(run_id)
    found = {record.run_id: scores(record) for record in commands.store.records()}
    assert found == unbroken(commands, arguments)


@pytest.mark.cluster
def test_a_sweep_is_left_and_goes_on(commands: Commands, cluster: Cluster) -> None:
    """Ctrl-C: what runs is told and is seen here, saves its state, and the state comes home; what is begun goes out."""
    doom, store = commands.folder / "doom", commands.store
    doom.touch()
    arguments = commands.arguments(
        *PLUGINS, "--strategy", "doomed", "--seed", "0", "1", "2", assignments=LATE
    )
    driver = started(commands, cluster, arguments)

    def told() -> bool:
        found = [begun(node) for node in cluster.nodes]
        assert all(len(run_ids) <= 1 for run_ids in found), "a node has one core"
        workers = [store.worker(run_id) for run_id in set().union(*found)]
        return len(workers) == 2 and all(worker is not None and "node " in worker.note for worker in workers)

    wait_for(told, 600, driver)
    driver.send_signal(signal.SIGINT)
    said, _ = driver.communicate(timeout=600)
    assert driver.returncode == 130, said
    assert "the same command goes on from the last saved state (0 of 3 cells are done)" in said
    kept = [path.name for path in (store.root / "state").glob("[!.]*")]
    assert len(kept) == 2
    assert {one.state for one in verify(store.root)} == {WHOLE}
    assert not list((store.root / "records").glob(".*")), "nobody is at anything"

    doom.unlink()
    driver = started(commands, cluster, arguments)
    said, _ = driver.communicate(timeout=900)
    assert driver.returncode == 0, said
    assert all(
        re.search(r"going on from step \d+ of 20", store.log_path(run_id).read_text()) for run_id in kept
    )
    assert {record.run_id: scores(record) for record in store.records()} == unbroken(commands, arguments)
    assert not list((store.root / "state").glob("*"))


@pytest.mark.cluster
@pytest.mark.parametrize("lacks", ["data_roots", "weights"])
def test_a_node_without_the_data_says_so(tmp_path: Path, lacks: str) -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install 'peftcorr[ray]'")
    from peftcorr.sweep.launchers.ray_task import Task, carry_out

    here, absent = str(tmp_path), str(tmp_path / "absent")
    job = {"run_id": "0" * 16, "data_roots": {"pairs": here}, "weights": here}
    home = carry_out(
        Task(
            {**job, **({"weights": absent} if lacks == "weights" else {lacks: {"pairs": absent}})},
            (),
            {},
            1,
            1,
        ),
        None,
    )
    assert (home.code, home.files) == (1, {})
    assert home.how == (
        f"the node {socket.gethostname()} has no {absent}: data and weights must lie there under the same path as here"
    )

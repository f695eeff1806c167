"""Real processes: several at once, and one that is killed."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from safetensors.torch import load_file

from peftcorr.predictions import read_predictions
from peftcorr.results.record import Record
from tests.commanding import PLAIN, PLUGIN, PROJECT, Commands, one_core, scores
from tests.engine.building import assert_equal

TORCH = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "peftcorr.cli")
ACCELERATE = (
    "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", str(PROJECT / "benchmarks" / "run.py"),
)  # fmt: skip


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    return Commands(tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="module")
def alone(commands: Commands) -> dict[str, Record]:
    """Records of one process, by strategy."""
    return launch(commands, PLAIN)


def launch(commands: Commands, launcher: tuple[str, ...] | None) -> dict[str, Record]:
    """Records of two processes, which a launcher started or, if it is None, the test itself; or of a plain one."""
    commands.output = commands.folder / f"out-{len(list(commands.folder.iterdir()))}"
    arguments = commands.arguments("--strategy", "frozen", "lora", "--plugin", str(PLUGIN))
    if launcher is ACCELERATE:
        arguments = arguments[1:]  # benchmarks/run.py says `run` itself
    if launcher is None:
        ended = commands.ranks(arguments, 2)
    else:
        ended = [commands.forked(arguments) if launcher is PLAIN else commands.process(launcher, arguments)]
    assert [done.returncode for done in ended] == [0] * len(ended), ended
    assert sum(done.stdout.count("Leaderboard: ") for done in ended) == 1
    return {record.strategy: record for record in commands.records()}


def close(found: Any, expected: Any) -> None:
    """The same nested scores, to a millionth of a percent."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            close(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, value in zip(found, expected, strict=True):
            close(one, value)
    else:
        assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "launcher",
    [
        None,
        pytest.param(TORCH, marks=pytest.mark.cluster),
        pytest.param(ACCELERATE, marks=pytest.mark.cluster),
    ],
    ids=["ranks", "torchrun", "accelerate"],
)
def test_two_processes_score_as_one_and_train(
    commands: Commands, alone: dict[str, Record], launcher: tuple[str, ...] | None
) -> None:
    together = launch(commands, launcher)
    frozen, lora = together["frozen"], together["lora"]
    for record in (frozen, lora):
        assert record.status == "ok"
        assert record.environment is not None
        assert record.environment.processes == 2
        assert record.cost is not None
        assert record.cost.encoder_forwards == 8
    assert frozen.run_id == alone["frozen"].run_id
    close(scores(frozen), scores(alone["frozen"]))
    files = sorted(commands.folder.glob(f"out-*/predictions/{frozen.run_id}.parquet"))
    assert len(files) > 1
    similarity = [read_predictions(path).column("similarity").to_numpy() for path in files]
    assert all(np.allclose(one, similarity[0], rtol=0, atol=1e-5) for one in similarity)
    assert lora.cost is not None
    assert lora.cost.steps == 4
    assert lora.leakage is not None, "each process fingerprints its share of the images"
    assert lora.leakage == alone["lora"].leakage
    assert lora.leakage["photographs/test"].identical == 8
    assert lora.run_id == alone["lora"].run_id
    apart, one = (
        {name: tensor for name, tensor in load_file(path).items() if "lora_B" in name}  # B begins at zero
        for path in sorted(commands.folder.glob(f"out-*/adapters/{lora.run_id}.safetensors"))[:2]
    )
    change = sum(float(tensor.norm()) for tensor in one.values())
    assert change > 0
    assert sum(float((apart[name] - tensor).norm()) for name, tensor in one.items()) < 1e-3 * change


@pytest.mark.cluster
@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1)])
def test_a_state_is_resumed_by_any_number_of_processes(commands: Commands, first: int, then: int) -> None:
    """The weights of an unbroken training by one process."""
    steps = 40
    assignments = (f"training.steps={steps}", "training.images=3", "training.checkpoint_every=5")
    launchers = {1: PLAIN, 2: TORCH}
    adapters = []
    for name, launcher in ((f"unbroken-{first}", PLAIN), (f"killed-{first}", launchers[then])):
        commands.output = commands.folder / name
        arguments = commands.arguments("--strategy", "lora", "--plugin", str(PLUGIN), assignments=assignments)
        if name.startswith("killed"):
            kill_mid_way(commands, arguments, launchers[first])
        done = commands.process(launcher, arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert ("going on from step" in done.stdout) == name.startswith("killed")
        adapters.append(load_file(commands.store.adapter_path(commands.record().run_id)))
    unbroken, resumed = adapters
    own = [key for key in unbroken if "lora_B" in key]
    change = sum(float(unbroken[key].norm()) for key in own)
    assert sum(float((unbroken[key] - resumed[key]).norm()) for key in own) < 1e-2 * change


@pytest.mark.cluster
def test_more_processes_than_images_are_refused(commands: Commands) -> None:
    commands.output = commands.folder / "too-many"
    arguments = commands.arguments(
        "--strategy", "lora", "--plugin", str(PLUGIN), assignments=("training.steps=1", "training.images=2")
    )
    launcher = tuple("3" if word == "2" else word for word in TORCH)
    done = commands.process(launcher, arguments, timeout=120)
    assert done.returncode != 0
    assert "training.images=2 cannot be shared out among 3 processes" in done.stdout + done.stderr


def break_image(commands: Commands) -> str:
    """A photograph that one of two processes decodes and the other never sees."""
    path = commands.photographs / "JPEGImages" / "car" / "1.jpg"
    path.write_bytes(path.read_bytes()[:300])
    return "1.jpg cannot be decoded"


def break_output(commands: Commands) -> str:
    """Only the main process writes predictions; a file stands where their folder should be."""
    commands.output.mkdir()
    (commands.output / "predictions").write_text("in the way")
    return "Cannot write"


@pytest.mark.parametrize("damage", [break_image, break_output])
@pytest.mark.parametrize("launcher", [None, pytest.param(TORCH, marks=pytest.mark.cluster)])
def test_what_goes_wrong_in_one_process_ends_them_all(
    tmp_path: Path, damage: Callable[[Commands], str], launcher: tuple[str, ...] | None
) -> None:
    """The others must not wait for ever for the one that failed, and the record says why."""
    commands = Commands(tmp_path)
    said = damage(commands)
    arguments = commands.arguments("--strategy", "frozen", "--plugin", str(PLUGIN))
    if launcher is None:
        ended = commands.ranks(arguments, 2, timeout=120)
    else:
        ended = [commands.process(launcher, arguments, timeout=120)]
    assert all(done.returncode for done in ended)
    assert any(said in done.stdout + done.stderr for done in ended)
    record = commands.record()
    assert record.status == "failed"
    assert said in str(record.error)


@pytest.mark.cluster
def test_a_training_killed_with_sigkill_ends_as_one_never_killed(commands: Commands) -> None:
    steps = 60
    assignments = (f"training.steps={steps}", "training.images=3", "training.checkpoint_every=5")
    adapters = []
    for name in ("unbroken", "killed"):
        commands.output = commands.folder / name
        arguments = commands.arguments(
            "--strategy", "adaptformer", "--plugin", str(PLUGIN), assignments=assignments
        )
        if name == "killed":
            kill_mid_way(commands, arguments)
        done = commands.process(PLAIN, arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert ("going on from step" in done.stdout) == (name == "killed")
        [record] = commands.records()
        assert record.cost is not None
        assert record.cost.steps == steps
        adapters.append(load_file(commands.store.adapter_path(record.run_id)))
        assert not commands.store.state_path(record.run_id).exists()
    assert_equal(adapters[1], adapters[0])


def kill_mid_way(commands: Commands, arguments: list[str], launcher: tuple[str, ...] = PLAIN) -> None:
    """Start a run and kill it once it has saved a state, before it is done."""
    with one_core():
        process = subprocess.Popen(
            [sys.executable, *launcher, *arguments],
            env=commands.environment(),
            cwd=PROJECT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    deadline = time.monotonic() + 900
    while not list((commands.output / "state").glob("*/step-*")):
        assert process.poll() is None, "the run ended before it saved a state"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for started in psutil.Process(process.pid).children(recursive=True):
        started.kill()
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert commands.records() == []


def node(commands: Commands, rank: int, port: int, *more: str) -> subprocess.Popen[str]:
    """One of two machines that have no disk in common: output, cache and temporary files of its own."""
    own = commands.folder / f"node-{rank}"
    (own / "tmp").mkdir(parents=True, exist_ok=True)
    launcher = [
        "-m", "accelerate.commands.launch", "--cpu", "--num_machines", "2", "--machine_rank", str(rank),
        "--num_processes", "2", "--main_process_ip", "127.0.0.1", "--main_process_port", str(port),
        str(PROJECT / "benchmarks" / "run.py"),
    ]  # fmt: skip
    arguments = commands.arguments(
        "--strategy", "lora", "--plugin", str(PLUGIN), "--output", str(own / "out"), *more
    )
    folders = {"TMPDIR": str(own / "tmp"), "PEFTCORR_CACHE": str(own / "cache")}
    with one_core():
        return subprocess.Popen(
            [sys.executable, *launcher, *arguments[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            cwd=PROJECT, env=commands.environment(**folders),
        )  # fmt: skip


@pytest.mark.cluster
def test_two_machines_without_a_common_disk(commands: Commands) -> None:
    """The second one has no state, and a record of an earlier run: what the first one has counts."""
    first, second = (commands.folder / f"node-{rank}" / "out" for rank in (0, 1))
    commands.output = first
    code = (
        "import sys; from peftcorr.engine.checkpoint import Checkpoints; save = Checkpoints.save\n"
        "def once(self): save(self); raise KeyboardInterrupt\n"
        "Checkpoints.save = once\n"
        "from peftcorr.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = commands.arguments("--strategy", "lora", "--plugin", str(PLUGIN))
    assert commands.process(("-c", code), arguments).returncode == 130
    [state] = first.glob("state/*/step-*")
    run_id = state.parent.name
    commands.output = second
    arguments = commands.arguments("--strategy", "lora", "--plugin", str(PLUGIN))
    assert commands.process(PLAIN, arguments).returncode == 0
    old = (second / "records" / f"{run_id}.json").read_bytes()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [node(commands, rank, port) for rank in (0, 1)]
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert "going on from step 2 of 4" in said[0]
    commands.output = first
    done = commands.record()
    assert (done.run_id, done.status) == (run_id, "ok")
    assert (second / "records" / f"{run_id}.json").read_bytes() == old
    assert not list(second.glob("state/*/*")), "nothing half written is left there"

"""The command line as a whole: quick help, one sentence for an error, and a word at once and at a stop."""

from __future__ import annotations

import argparse
import json
import os
import pty
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from peftcorr import __version__
from peftcorr.cli import COMMANDS, main, make_parser
from peftcorr.errors import PeftCorrError
from tests.commanding import PLAIN, PROJECT, Commands

NAMES = (
    "run", "status", "ls", "params", "data", "match", "demo", "score", "show", "compare", "breakdown",
    "tune-predictor", "compile", "report", "verify", "reproduce", "reproduce-table", "submit", "push", "export",
    "validate", "check-plugin", "new", "cache", "completion",
)  # fmt: skip


def subparsers() -> dict[str, argparse.ArgumentParser]:
    [found] = [a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(found.choices)


def test_the_commands() -> None:
    assert tuple(subparsers()) == NAMES
    assert len(COMMANDS) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_text(name: str) -> None:
    for action in subparsers()[name]._actions:
        assert action.help, action.option_strings or action.dest
        assert action.help != argparse.SUPPRESS


@pytest.fixture(scope="module")
def helped() -> dict[str, tuple[str, list[str]]]:
    """By command, what its help prints and what heavy it imports, all in one process that had imported nothing."""
    code = (
        "import contextlib, io, json, sys; from peftcorr.cli import main\nfound, before = {}, set()\n"
        "for name in sys.argv[1:]:\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):\n"
        "        main([name, '--help'])\n"
        "    heavy = {'torch', 'transformers', 'datasets', 'timm', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "    found[name] = out.getvalue(), sorted(heavy - before)\n"
        "    before |= heavy\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *NAMES], capture_output=True, text=True, check=False, cwd=PROJECT
    )
    assert done.returncode == 0, done.stderr
    return {name: (out, heavy) for name, (out, heavy) in json.loads(done.stdout).items()}


@pytest.mark.parametrize("name", NAMES)
def test_help_is_quick(name: str, helped: dict[str, tuple[str, list[str]]]) -> None:
    """Nobody waits for torch to read a flag's name; and a percent sign in a text must not break it."""
    out, heavy = helped[name]
    assert f"usage: peftcorr {name}" in out
    assert heavy == []


def test_help_of_run_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    out = capsys.readouterr().out
    for flag in (
        "strategy", "backbone", "dataset", "eval-on", "data-root", "weights", "image-size", "predictor", "alphas",
        "seed", "steps", "recipe", "set", "limit-pairs", "output", "overwrite", "plugin", "dry-run",
    ):  # fmt: skip
        assert f"--{flag} " in out.replace("]", " "), flag
    examples = [line.strip() for line in out.partition("examples:")[2].splitlines() if "peftcorr" in line]
    commands = [line.partition("run ")[2].split() for line in examples if line.startswith("peftcorr run")]
    assert len(commands) >= 4
    for command in commands:
        make_parser().parse_args(["run", *command])


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert not ended.value.code
    assert capsys.readouterr().out == f"peftcorr {__version__}\n"


def test_the_main_job_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr("peftcorr.cli.main", lambda arguments: given.append(arguments) or 7)
    monkeypatch.setattr(sys, "argv", ["run.py", "--strategy", "lora"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(PROJECT / "benchmarks" / "run.py"), run_name="__main__")
    assert (ended.value.code, given) == (7, [["run", "--strategy", "lora"]])


def test_an_error_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(parsed: argparse.Namespace) -> int:
        raise PeftCorrError("The [bold]folder[/bold] is full.")

    monkeypatch.setattr("peftcorr.commands.validate.run", fail)
    assert main(["validate", "any"]) == 2
    assert capsys.readouterr().err == "peftcorr: The [bold]folder[/bold] is full.\n"


@pytest.mark.parametrize(
    ("said", "expected"), [((), "nothing was saved yet"), (("all is well",), "all is well")]
)
def test_a_stop_says_what_is_saved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: tuple[str, ...], expected: str
) -> None:
    def stop(parsed: argparse.Namespace) -> int:
        raise KeyboardInterrupt(*said)

    monkeypatch.setattr("peftcorr.commands.validate.run", stop)
    assert main(["validate", "any"]) == 130
    assert capsys.readouterr().err == f"peftcorr: stopped; {expected}.\n"
    monkeypatch.setenv("RANK", "1")
    assert main(["validate", "any"]) == 130
    assert capsys.readouterr().err == "", "one process of several speaks"


@pytest.fixture
def slow_torch(tmp_path: Path) -> Path:
    """A folder with a torch whose import never ends; ``begun`` is there once somebody is in it."""
    folder = tmp_path / "slow"
    folder.mkdir()
    waits = f"import pathlib, time\npathlib.Path({str(folder / 'begun')!r}).touch()\ntime.sleep(600)\n"
    (folder / "torch.py").write_text(waits)
    return folder


def wait_for_the_import(slow_torch: Path) -> None:
    """Python may hear a signal before it, where nothing of ours listens."""
    end = time.monotonic() + 120
    while not (slow_torch / "begun").exists():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def started(commands: Commands, slow_torch: Path) -> Iterator[subprocess.Popen[str]]:
    """``peftcorr run`` that hangs in its imports, its output in pipes."""
    arguments = [sys.executable, *PLAIN, "run", "--dry-run"]
    environment = commands.environment(PYTHONPATH=f"{slow_torch}:{PROJECT}")
    with subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT
    ) as process:
        yield process
        process.kill()


def test_something_is_said_before_the_imports(started: subprocess.Popen[str]) -> None:
    assert started.stdout is not None
    assert started.stdout.readline() == f"peftcorr {__version__}: loading libraries ...\n"


def test_a_stop_in_the_imports_saved_nothing(started: subprocess.Popen[str], slow_torch: Path) -> None:
    assert started.stdout is not None
    assert started.stdout.readline()
    wait_for_the_import(slow_torch)
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert started.returncode == 130
    assert out == ""
    assert err == "peftcorr: stopped; nothing was saved yet.\n"


def test_a_terminal_has_a_line_only_while_libraries_are_loaded(commands: Commands, slow_torch: Path) -> None:
    parent, child = pty.openpty()
    environment = commands.environment(PYTHONPATH=f"{slow_torch}:{PROJECT}", TERM="xterm")
    arguments = [sys.executable, *PLAIN, "run", "--dry-run"]
    with subprocess.Popen(
        arguments, env=environment, stdin=child, stdout=child, stderr=child, cwd=PROJECT
    ) as process:
        os.close(child)
        shown = b""
        while b"..." not in shown:
            shown += os.read(parent, 1000)
        assert shown.decode() == f"peftcorr {__version__}: loading libraries ..."
        wait_for_the_import(slow_torch)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        rest = os.read(parent, 1000).decode()
    os.close(parent)
    assert rest == "\r\x1b[Kpeftcorr: stopped; nothing was saved yet.\r\n"


@pytest.mark.parametrize("plugin", ["ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP"])
def test_a_plugin_that_takes_the_model_apart_is_refused_before_the_imports(
    commands: Commands, slow_torch: Path, plugin: str
) -> None:
    environment = commands.environment(PYTHONPATH=f"{slow_torch}:{PROJECT}", **{plugin: "true"})
    done = subprocess.run(
        [sys.executable, *PLAIN, "run"],
        env=environment,
        capture_output=True,
        text=True,
        cwd=PROJECT,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert plugin in done.stderr
    assert "choose plain multi-GPU" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [(["--version"], 0, "peftcorr"), (["ls", "nothing-like-it"], 2, ""), (["run", "--nonsense"], 2, "")],
)
def test_a_process_ends_with_the_code_and_after_what_libraries_do_at_the_end(
    arguments: list[str], code: int, said: str
) -> None:
    script = (
        "import atexit, sys; from peftcorr import cli; sys.argv[1:] = sys.argv[2:]\n"
        "plain = cli.main\n"
        "def main(given):\n"
        "    atexit.register(print, 'the end')\n"
        "    return plain(given)\n"
        "cli.main = main\n"
        "cli.console()\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, "peftcorr", *arguments], capture_output=True, text=True, check=False
    )
    assert found.returncode == code
    assert found.stdout.startswith(said)
    assert found.stdout.endswith("the end\n")

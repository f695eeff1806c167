"""Odd files, names and pipes end in one sentence: no traceback, no waiting, nothing lost."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from peftcorr.backbones.identity import local_weights
from peftcorr.cli import main
from peftcorr.console.progress import Progress
from peftcorr.data.decode import stored_size
from peftcorr.data.layouts.spair import SpairFolder
from peftcorr.errors import PeftCorrError
from peftcorr.predictions import PREDICTION_SCHEMA, write_predictions
from peftcorr.results.store import Store
from tests.commanding import PROJECT
from tests.commands.test_score import rows
from tests.forked import Forked
from tests.hostile import DEEP, ID, KINDS, assert_calm, deadline, odd, refused
from tests.small_models import Small, save_weights


@KINDS
def test_a_record_that_is_no_file(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    odd(tmp_path / "records" / f"{ID}.json", kind)
    assert "is no valid record" in refused(capsys, "compile", str(tmp_path))
    with deadline(), pytest.raises(PeftCorrError, match="is no valid record"):
        Store(tmp_path).read(ID)


@KINDS
def test_a_recipe_that_is_no_file(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = odd(tmp_path / "odd.yaml", kind)
    refused(capsys, "validate", str(path))
    (tmp_path / "own.yaml").write_text("extends: odd.yaml\n")
    assert re.search("odd.yaml|nowhere", refused(capsys, "validate", str(tmp_path / "own.yaml")))


@KINDS
def test_an_archive_that_is_no_file(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = odd(tmp_path / "odd.tar.gz", kind)
    folder = tmp_path / "set"
    command = ("data", "prepare", "spair71k", "--archive", str(path), "--data-root", str(folder))
    assert "odd.tar.gz" in refused(capsys, *command)
    assert not folder.exists()


@KINDS
def test_a_plugin_that_is_no_file(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = odd(tmp_path / "odd.py", kind)
    assert "no such file" in refused(capsys, "ls", "--plugin", str(path))


@pytest.mark.parametrize(
    "code",
    ["import sys; sys.exit(3)", "raise SystemExit", "raise GeneratorExit", "raise BaseException('x' * 5000)",
     "class Odd(BaseException): pass\nraise Odd('\\x1b\\n')"],
)  # fmt: skip
def test_a_plugin_that_ends_the_interpreter(
    tmp_path: Path, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.py"
    path.write_text(code)
    assert "odd.py cannot be imported: " in refused(capsys, "ls", "--plugin", str(path))


def test_a_command_that_a_library_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def leave(parsed: object) -> int:
        sys.exit("x" * 5000)

    monkeypatch.setattr("peftcorr.commands.validate.run", leave)
    assert "ended the command" in refused(capsys, "validate", "any")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000,
        "a: " + "9" * 5000,
        "seed: " + "9" * 90,
        "a0: &a0 [1, 2]\n"
        + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)),
        "x" * 5000 + ": 1",
        "strategy: " + "x" * 5000,
        "backbone: {name: tiny, image_size: " + "x" * 5000 + "}",
        "strategy: [" + "1, " * 5000 + "1]",
        "seed: .nan",
        "a: 2020-13-45",
        "? {a: 1}\n: 2",
    ],
)
def test_a_recipe_without_end_or_sense(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    assert "odd.yaml" in refused(capsys, "validate", str(path))


def test_recipes_that_extend_one_another_without_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(1500):
        (tmp_path / f"{number}.yaml").write_text(f"extends: {number + 1}.yaml\n")
    assert "no recipe extends more than 31 others" in refused(capsys, "validate", str(tmp_path / "0.yaml"))
    (tmp_path / "1500.yaml").write_text("seed: 7\n")
    assert main(["validate", str(tmp_path / "1480.yaml")]) == 0
    assert "seed: 7\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content",
    [
        "[" * 5000,
        '{"schema_version": 1, "recipe": ' + "[" * 900 + "]" * 900 + "}",
        '{"seed": ' + "9" * 5000 + "}",
    ],
)
def test_a_record_without_end(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "records" / f"{ID}.json"
    path.parent.mkdir()
    path.write_text(content)
    assert "is no valid record" in refused(capsys, "compile", str(tmp_path))
    assert main(["verify", str(tmp_path)]) == 1
    assert_calm(capsys.readouterr().out)


def test_without_a_home_folder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def nobody(*_: object) -> Any:
        raise KeyError("no such user")

    for name in ("HOME", "PEFTCORR_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.setattr("pwd.getpwnam", nobody)
    assert "set PEFTCORR_CACHE" in refused(capsys, "cache", "ls")
    assert "no home folder for ~x/y" in refused(capsys, "data", "check", "spair71k", "--data-root", "~x/y")


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    path = tmp_path / "predictions" / f"{ID}.parquet"
    write_predictions(pa.Table.from_pylist(rows(), schema=PREDICTION_SCHEMA), path)
    return path


@pytest.mark.parametrize("command", ["score", "breakdown", "ls"])
def test_what_was_asked_for_is_written_though_nobody_reads(
    tmp_path: Path, predictions: Path, command: str
) -> None:
    arguments = {
        "score": ["score", str(predictions), "--json", str(tmp_path / "scores.json")],
        "breakdown": ["breakdown", str(predictions), "--output", str(tmp_path)],
        "ls": ["ls", "--json"],
    }[command]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "peftcorr.cli", *arguments],
        stdout=writer, stderr=subprocess.PIPE, text=True, cwd=PROJECT, check=False,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
    if command == "score":
        assert json.loads((tmp_path / "scores.json").read_text())["predictions"] == predictions.name
    if command == "breakdown":
        assert (tmp_path / "breakdowns" / f"{ID}.md").is_file()


def test_a_recipe_that_nobody_reads() -> None:
    done = Forked(["validate", "default"], os.environ, PROJECT, unread=True).communicate(120)
    assert (done.returncode, done.stderr) == (141, "")


def test_scores_are_written_before_they_are_printed(
    tmp_path: Path, predictions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("peftcorr.commands.score.print_table", closed)
    monkeypatch.setattr("os.dup2", lambda *_: None)
    with open(os.devnull, "w") as nowhere:
        monkeypatch.setattr(sys, "stdout", nowhere)
        assert main(["score", str(predictions), "--json", str(tmp_path / "scores.json")]) == 141
    assert (tmp_path / "scores.json").is_file()


class Closed(io.StringIO):
    """A pipe that nobody reads."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_work_goes_on_though_nobody_reads_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.dup2", lambda *_: None)
    monkeypatch.setattr("peftcorr.console.progress._SHOW_AFTER", 0.0)
    monkeypatch.setattr("peftcorr.console.progress._LINE_EVERY", 0.0)
    monkeypatch.setattr(sys, "stdout", open(os.devnull, "w"))  # noqa: SIM115
    progress = Progress(Console(file=Closed()))
    progress.say("first")
    progress.say("second")
    with progress.track("work", 2, "steps") as bar:
        bar.advance(1)
        bar.advance(1)


@DEEP
def test_an_annotation_without_end(spair: Any, content: str) -> None:
    root = spair.write()
    spair.pair("test", "000000-2008_000001-2008_000002:cat", content.encode())
    with deadline(), pytest.raises(PeftCorrError, match="000000-2008_000001-2008_000002:cat") as caught:
        SpairFolder(SpairFolder.Config(), root, root / "cache").load("test")
    assert len(str(caught.value)) < 1000


@DEEP
def test_the_configuration_of_weights_without_end(tmp_path: Path, content: str) -> None:
    folder = save_weights(Small, tmp_path / "weights")
    (folder / "config.json").write_text(content)
    with pytest.raises(PeftCorrError, match=r"config\.json") as caught:
        Small.build(Small.Config(), local_weights(folder))
    assert len(str(caught.value)) < 1000
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(PeftCorrError, match=r"model\.safetensors\.index\.json cannot be read"):
        local_weights(folder)


@KINDS
def test_an_image_that_is_no_file(tmp_path: Path, kind: str) -> None:
    path = odd(tmp_path / "odd.jpg", kind)
    with deadline(), pytest.raises(PeftCorrError, match=r"odd\.jpg (cannot be decoded|is missing)"):
        stored_size(path)

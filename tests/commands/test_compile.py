from __future__ import annotations

from pathlib import Path

import pytest

from peftcorr.cli import main, make_parser
from tests.commanding import Commands


def test_compile_gives_the_same_bytes(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run("--strategy", "frozen") == 0
    files = [commands.output / "README.md", *commands.output.glob("figures/*")]
    before = {path: path.read_bytes() for path in files}
    for path in files:
        path.unlink()
    capsys.readouterr()
    assert main(["compile", str(commands.output)]) == 0
    assert capsys.readouterr().out.strip() == str(commands.output / "README.md")
    assert {path: path.read_bytes() for path in files} == before


def test_compile_without_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", str(tmp_path)]) == 2
    assert "peftcorr: There is no folder" in capsys.readouterr().err


def test_without_a_folder_the_runs_are_compiled() -> None:
    assert make_parser().parse_args(["compile"]).output == Path("runs")

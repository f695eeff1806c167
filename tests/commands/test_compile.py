from __future__ import annotations

from pathlib import Path

import pytest

from peftcorr.cli import main, make_parser
from peftcorr.results.store import Store
from tests.commanding import Commands
from tests.report.conftest import _record


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


def test_the_rows_go_where_they_are_asked_for(tmp_path: Path) -> None:
    Store(tmp_path / "runs").write(_record("lora-1"))
    asked = {"--csv": tmp_path / "a" / "rows.csv", "--latex": tmp_path / "b" / "tables.tex"}
    options = [text for option, path in asked.items() for text in (option, str(path))]
    assert main(["compile", str(tmp_path / "runs"), *options]) == 0
    assert asked["--csv"].read_bytes() == (tmp_path / "runs" / "leaderboard.csv").read_bytes()
    assert r"\begin{tabular}" in asked["--latex"].read_text(encoding="utf-8")


def test_compile_without_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", str(tmp_path)]) == 2
    assert "peftcorr: There is no folder" in capsys.readouterr().err


def test_without_a_folder_the_runs_are_compiled() -> None:
    assert make_parser().parse_args(["compile"]).output == Path("runs")

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peftcorr.cli import main, make_parser
from peftcorr.results.store import Store
from tests.report.conftest import _record


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    Store(tmp_path / "runs").write(_record("lora-1"))
    return tmp_path / "runs"


def test_it_says_where_the_site_is(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = tmp_path / "shown"
    shown.mkdir()
    (shown / "index.html").write_text("drawn")
    site = tmp_path / "site"
    assert main(["report", str(runs), "-o", str(site), "--matches", f"lora={shown}"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(site / "index.html")
    assert (site / "runs" / "lora-1-matches" / "index.html").read_text() == "drawn"


@pytest.mark.parametrize("given", ["lora", "nobody=folder"])
def test_matches_of_no_run_are_refused(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    assert main(["report", str(runs), "-o", str(tmp_path / "site"), "--matches", given]) == 2
    assert "--matches takes RUN=FOLDER, not " in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


def test_what_it_does_unless_told_otherwise() -> None:
    parsed: Any = make_parser().parse_args(["report"])
    assert (parsed.runs, parsed.site) == (Path("runs"), Path("site"))

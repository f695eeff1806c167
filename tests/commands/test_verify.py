"""``peftcorr verify``: its table, its last line and its exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from peftcorr.cli import main
from peftcorr.results.store import Store
from tests.results.left_behind import leave_run


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")


def test_a_whole_folder_is_listed_and_gives_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = leave_run(tmp_path)
    assert main(["verify", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert [line.split()[1] for line in out.splitlines() if run_id in line] == ["whole"] * 4
    assert out.endswith(f"4 whole in {tmp_path}.\n")


def test_what_is_wrong_is_listed_alone_and_gives_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed, missing = leave_run(tmp_path, seed=0), leave_run(tmp_path, seed=1)
    store = Store(tmp_path)
    store.predictions_path(changed).write_bytes(b"others")
    store.adapter_path(missing).unlink()
    (tmp_path / "adapters" / "[bold]mine").write_text("", encoding="utf-8")
    assert main(["verify", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    cells = {tuple(line.split()[:2]) for line in out.splitlines() if "/" in line.split(" ")[0]}
    assert cells == {
        (f"predictions/{changed}.parquet", "changed"),
        (f"adapters/{missing}.safetensors", "missing"),
        ("adapters/[bold]mine", "foreign"),
    }
    assert out.endswith(f"6 whole, 1 changed, 1 missing, 1 foreign in {tmp_path}.\n")


def test_records_of_version_1_give_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing says that they are whole."""
    run_id = leave_run(tmp_path, version=1)
    assert main(["verify", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert f"records/{run_id}.json" in out
    assert "a record of version 1" in out
    assert out.endswith(f"4 unsealed in {tmp_path}.\n")


def test_nothing_to_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path)]) == 0
    assert "nothing to check" in capsys.readouterr().out


def test_a_folder_that_is_not_there_gives_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("peftcorr: There is no folder")

"""Which run is meant: an id, a path, or a name on the hub."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.model.find import find_run
from peftcorr.results.store import Store
from tests.commanding import PROJECT

RUN = "05c4b032c1519365"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """An output folder with three of the repository's records."""
    folder = tmp_path / "runs"
    (folder / "records").mkdir(parents=True)
    for path in [*sorted((PROJECT / "leaderboard" / "records").glob("05*.json"))[:3]]:
        (folder / "records" / path.name).write_bytes(path.read_bytes())
    assert (folder / "records" / f"{RUN}.json").is_file()
    return folder


def test_every_way_to_name_a_run(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs.parent)
    for run in (
        "runs/05c4",
        Path("runs") / RUN,
        runs / "05c4",
        runs / "records" / f"{RUN}.json",
        "05c4",
        RUN,
    ):
        record, store = find_run(run, Path("runs"))
        assert record.run_id == RUN
        assert store.root.resolve() == runs


def test_a_folder_with_one_run_is_that_run(runs: Path, tmp_path: Path) -> None:
    for path in (runs / "records").glob("*.json"):
        if path.stem != RUN:
            with pytest.raises(PeftCorrError, match=r"has \d runs: name one, as in"):
                find_run(runs, tmp_path)
            path.unlink()
    assert find_run(runs, tmp_path)[0].run_id == RUN


def test_other_records_are_not_read(runs: Path) -> None:
    (runs / "records" / "aaaa.json").write_text("no record")
    assert find_run("05c4", runs)[0].run_id == RUN


def test_a_run_that_failed_says_why(runs: Path) -> None:
    store = Store(runs)
    record = store.read(RUN)
    assert record is not None
    store.write(record.model_copy(update={"status": "failed", "error": "The disk was full."}))
    with pytest.raises(PeftCorrError, match=r"no finished run 05c4 in .*: it failed \(The disk was full\.\)"):
        find_run("05c4", runs)


def test_a_name_that_is_nowhere_here_is_fetched_from_the_hub(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    shared = tmp_path / "shared"
    (shared / "records").mkdir(parents=True)
    (shared / "records" / f"{RUN}.json").write_bytes((runs / "records" / f"{RUN}.json").read_bytes())
    hub = types.ModuleType("peftcorr.model.hub")
    hub.fetch = lambda name: asked.append(name) or shared  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "peftcorr.model.hub", hub)
    monkeypatch.chdir(tmp_path)
    record, store = find_run("somebody/lora-on-tiny", runs)
    assert (record.run_id, store.root, asked) == (RUN, shared, ["somebody/lora-on-tiny"])
    with pytest.raises(PeftCorrError, match="no finished run ffff in runs"):
        find_run("runs/ffff", runs)
    assert asked == ["somebody/lora-on-tiny"], "a folder of runs is here: nobody is asked for its runs"


@pytest.mark.parametrize("run", ["a/b/c", "x/../y", "/nowhere/at all"])
def test_what_is_no_name_of_a_run(runs: Path, run: str) -> None:
    with pytest.raises(PeftCorrError, match=r"There is no run .*: give a run's id"):
        find_run(run, runs)

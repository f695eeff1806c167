"""Sweeps: every cell by itself, and none again that is done."""

from __future__ import annotations

import json
import os
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from peftcorr.engine.plan import Plan
from peftcorr.engine.space import Space
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError
from peftcorr.machine.folders import Place
from peftcorr.results.record import Record
from peftcorr.sweep.here import _score, require_space
from peftcorr.sweep.launchers.local import Local
from tests.commanding import Commands, scores


def test_lists_form_a_product(commands: Commands) -> None:
    assert commands.run("--strategy", "frozen", "lora", "--seed", "0", "1", "--steps", "1") == 0
    cells = {(record.strategy, record.seed) for record in commands.records()}
    assert cells == {("frozen", 0), ("frozen", 1), ("lora", 0), ("lora", 1)}


def test_one_cell_does_not_depend_on_another_before_it(commands: Commands) -> None:
    assert commands.run("--strategy", "frozen", "adapter", "lora") == 0
    together = {record.run_id: record for record in commands.records()}
    commands.output = commands.folder / "alone"
    assert commands.run("--strategy", "lora") == 0
    alone = commands.record()
    assert scores(alone) == scores(together[alone.run_id])


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, commands: Commands) -> list[str]:
    """Run ids of the cells that were run from here on; they leave nothing."""
    found: list[str] = []
    monkeypatch.setattr("peftcorr.sweep.here.run", lambda plan, bench: found.append(plan.run_id))
    return found


def put(commands: Commands, record: Record, state: str) -> None:
    """Leave what an earlier run left: a whole run, a failed one, or a record without its predictions."""
    if state.startswith("failed"):
        retry = state == "failed by the machine"
        record = record.model_copy(
            update={"status": "failed", "error": "it broke", "retry": retry, "scores": {}}
        )
    commands.store.write(record)
    predictions = commands.store.predictions_path(record.run_id)
    predictions.parent.mkdir(exist_ok=True)
    predictions.touch() if state == "whole" else predictions.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("mode", "run_again", "code_when_failed"),
    [
        ("missing", {"without predictions", "failed by the machine"}, 1),
        ("failed", {"without predictions", "failed by the machine", "failed"}, 0),
        ("always", {"without predictions", "failed by the machine", "failed", "whole"}, 0),
        ("never", set(), 1),
    ],
)
def test_overwrite(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, mode: str, run_again: set[str], code_when_failed: int
) -> None:
    assert commands.run("--strategy", "frozen") == 0
    record, ran = commands.record(), []
    monkeypatch.setattr("peftcorr.sweep.here.run", lambda plan, bench: ran.append(plan.run_id))
    for state in ("whole", "without predictions", "failed", "failed by the machine"):
        put(commands, record, state)
        before = commands.store.record_path(record.run_id).read_bytes()
        code = commands.run("--strategy", "frozen", "--overwrite", mode)
        assert ran == ([record.run_id] if state in run_again else []), state
        stands = state.startswith("failed") and state not in run_again
        assert code == (code_when_failed if stands else 0), state
        assert commands.store.record_path(record.run_id).read_bytes() == before
        ran.clear()


def test_a_second_run_does_no_work_and_says_so(
    commands: Commands, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert commands.run("--strategy", "frozen", "lora") == 0
    before = {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in commands.output.rglob("*")
        if path.is_file() and path.parent != commands.output and "figures" not in path.parts
    }
    page = (commands.output / "README.md").read_bytes()
    capsys.readouterr()

    def no_work(*arguments: object) -> None:
        raise AssertionError("a backbone is built")

    monkeypatch.setattr("peftcorr.engine.plan.apply_checked", no_work)
    assert commands.run("--strategy", "frozen", "lora") == 0
    said = capsys.readouterr().out
    assert said.count("done before, nothing to do") == 2
    assert "Nothing was run." in said
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    assert (commands.output / "README.md").read_bytes() == page


@pytest.mark.parametrize(
    ("by_threshold", "shown"),
    [({"0.05": 1.0, "0.1": 12.345}, "12.35"), ({"0.05": 1.0, "0.2": 3.0}, "1.00"), ({}, "nothing")],
)
def test_what_was_measured_before_is_told_by_its_first_score(
    by_threshold: dict[str, float], shown: str
) -> None:
    """A record of somebody else may hold none at all."""
    scores: Any = SimpleNamespace(per_keypoint=by_threshold)
    record: Any = SimpleNamespace(scores={"farm/test": {"argmax": scores}})
    assert _score(record) == shown
    assert _score(SimpleNamespace(scores={})) == "nothing"  # type: ignore[arg-type]


def test_only_the_missing_cells_are_run(commands: Commands, ran: list[str]) -> None:
    commands.run("--strategy", "frozen", "lora", "frozen")
    assert len(ran) == len(set(ran)) == 2


# Two starts in one folder


def test_a_cell_that_another_process_is_at_is_left_to_it(
    commands: Commands, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other cells are run meanwhile; then this one, which the other has not done: it was killed."""
    assert commands.run("--strategy", "lora", "frozen", "--steps", "1") == 0
    records = {record.strategy: record for record in commands.records()}
    commands.output = commands.folder / "shared"
    order, claim = [], None

    def ran(plan: Plan, bench: Workbench) -> None:
        order.append(plan.recipe.strategy["name"])

    def end(seconds: float) -> None:
        assert claim is not None
        assert order == ["frozen"]
        claim.give_back()

    monkeypatch.setattr("peftcorr.sweep.here.run", ran)
    monkeypatch.setattr("peftcorr.sweep.here.time.sleep", end)
    for done in (False, True):
        order.clear()
        claim = commands.store.claim(records["lora"].run_id)
        assert claim.take()
        if done:
            put(commands, records["lora"], "without predictions")
        commands.run(
            "--strategy", "lora", "frozen", "--steps", "1", *(["--overwrite", "never"] if done else [])
        )
        out = capsys.readouterr().out
        if done:
            assert order == ["frozen"]
            claim.give_back()
        else:
            assert order == ["frozen", "lora"]
            assert out.count("another process is at it") == 1


def test_what_a_killed_start_left_is_gone_after_the_next(commands: Commands) -> None:
    assert commands.run("--strategy", "lora") == 0
    run_id = commands.record().run_id
    before = {path for path in commands.output.rglob("*") if path.is_file()}
    store = commands.store
    left = [
        store.record_path(run_id).with_name(f".{run_id}.json.making-1"),
        store.record_path(run_id).with_name(f".{run_id}.claim"),
        store.state_path(run_id)
        / "step-00000004"
        / "adapter.safetensors",  # killed after its record was written
        store.state_path("1" * 16) / ".writing-00000002" / "adapter.safetensors",
        commands.output / ".README.md.making-1",
        commands.folder / "cache" / "digests" / ".table.json.making-1",
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    # The process that was killed had put its name there: it is known to be dead, and to have been of this machine.
    dead = {"host": socket.gethostname(), "process": 1, "since": 1.0}
    store.record_path(run_id).with_name(f".{run_id}.claim").write_text(json.dumps(dead))
    resumable = store.state_path("1" * 16) / "step-00000001"
    resumable.mkdir()
    os.utime(store.record_path(run_id))
    assert commands.run("--strategy", "lora") == 0
    assert [path for path in left if path.exists()] == []
    assert resumable.is_dir()
    assert {path for path in commands.output.rglob("*") if path.is_file()} == before
    assert not store.state_path(run_id).exists()


def test_there_is_room_for_as_many_as_train_at_once(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their states in the output folder; on this machine what the frozen blocks give, in the temporary one."""
    needs: list[int] = []
    monkeypatch.setattr(
        "peftcorr.sweep.here.require_room", lambda places: needs.extend(size for _, size in places)
    )
    monkeypatch.setattr("peftcorr.sweep.here.space", lambda plan, _: Space(1, 10 * plan, 100 * plan))
    monkeypatch.setattr("peftcorr.sweep.here.standing", lambda *_: None)
    plans: Any = [_Numbered(number) for number in (1, 2, 3)]
    place = Place("", commands.folder, "")
    for at_once, here, wanted in ((1, 1, [33, 300, 0]), (2, 1, [53, 300, 0]), (9, 9, [63, 600, 0])):
        require_space(plans, commands.bench(), "missing", place, place, place, at_once, here)
        assert needs == wanted
        needs.clear()


class _Numbered(int):
    """Stands for a plan."""

    @property
    def run_id(self) -> str:
        return str(self)


@pytest.mark.parametrize(
    ("local", "sees", "wanted"), [(True, True, (2, 2)), (False, True, (2, 1)), (False, False, (1, 1))]
)
def test_workers_are_counted_where_they_write(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, local: bool, sees: bool, wanted: tuple[int, int]
) -> None:
    def stop(*given: object) -> None:
        assert given[-2:] == wanted
        raise PeftCorrError("seen")

    monkeypatch.setattr("peftcorr.sweep.here.make_ready", stop)
    monkeypatch.setattr(Local, "here", local)
    monkeypatch.setattr(Local, "sees_output", sees)
    assert commands.run("--strategy", "frozen", "--seed", "0", "1", "--workers", "2", assignments=()) == 2

"""A sweep by workers: each cell a process of its own, whose end is no other's."""

from __future__ import annotations

import multiprocessing
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.forkserver import _forkserver
from pathlib import Path
from types import SimpleNamespace

import pytest

from peftcorr.console.progress import Progress
from peftcorr.engine.plan import finalise
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError
from peftcorr.recipe import Recipe, resolve
from peftcorr.registry import Entry
from peftcorr.strategies import STRATEGIES
from peftcorr.sweep import job
from peftcorr.sweep.dispatch import dispatch
from peftcorr.sweep.job import BUSY, Job, carry_out, read_job
from peftcorr.sweep.launchers.base import Ending, Launcher, Share
from peftcorr.sweep.launchers.local import Local, Slot, slots
from tests.commanding import PLUGIN, Commands, scores
from tests.sweep.doomed import DOOM, Doomed

DOOMED = Path(__file__).with_name("doomed.py")


def test_the_dead_take_nobody_with_them_and_are_done_by_the_same_command(
    commands: Commands, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed, ended without a word, out of memory; the others as ever."""
    planned = job.jobs
    arguments = [
        "--strategy",
        "doomed",
        "frozen",
        "--vary",
        "strategy.end=killed,exit,memory,well",
        "--workers",
        "2",
    ]
    monkeypatch.setitem(STRATEGIES._entries, "doomed", Entry("doomed", "tests", Doomed))
    monkeypatch.setattr(job, "jobs", lambda *given: planned(given[0], given[1], [PLUGIN, DOOMED], given[3]))
    doom = commands.folder / "doom"
    doom.touch()
    monkeypatch.setenv(DOOM, str(doom))
    _forkserver._stop()  # what other tests fork from has not heard of it
    monkeypatch.setenv("COLUMNS", "400")
    assert commands.run(*arguments) == 1
    said = re.findall(r"doomed(?: \(end=(\w+)\))? on small.*?: (done|failed: .*)", capfd.readouterr().out)
    found = {end or "well": text for end, text in said}
    assert found["well"] == "done"
    assert "its process ended by SIGKILL, perhaps for want of memory" in found["killed"]
    assert "logs/" in found["killed"]
    assert "its process ended with the code 7" in found["exit"]
    assert "Out of memory" in found["memory"]
    whole = [record.strategy for record in commands.records() if record.status == "ok"]
    assert sorted(whole) == ["doomed", "frozen"]
    doom.unlink()
    assert commands.run(*arguments) == 0
    assert capfd.readouterr().out.count("done before, nothing to do") == 2
    assert len(commands.records()) == 5
    logs = [path.read_text() for path in (commands.output / "logs").glob("*.log")]
    assert any("going on from step 2 of 4" in text for text in logs), "its state was kept"
    assert not list((commands.output / "logs").glob(".*"))
    assert not list((commands.output / "records").glob(".*"))
    ended = [scores(record) for record in commands.records() if record.strategy == "doomed"]
    assert ended == [ended[0]] * 4, "the option changes nothing else"


class Fake(Launcher):
    """Carries jobs out in this process; `busy` says which are another's at first."""

    name = "fake"
    order: list[str]
    busy: set[str]

    def endings(self, jobs: Sequence[Job]) -> Iterator[Ending | None]:
        for one in jobs:
            self.order.append(one.title)
            if one.title in self.busy:
                self.busy.discard(one.title)
                yield Ending(one, BUSY)
            else:
                yield None
                yield Ending(one, 0)


def test_the_longest_begin_first_and_a_cell_of_another_sweep_is_looked_at_again(
    commands: Commands, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peftcorr.sweep.launchers.local.Local.endings", Fake.endings)
    Fake.order, Fake.busy = [], {"lora on small, photographs, seed 0"}
    monkeypatch.setattr("peftcorr.sweep.launchers.local.Local.order", Fake.order, raising=False)
    monkeypatch.setattr("peftcorr.sweep.launchers.local.Local.busy", Fake.busy, raising=False)
    code = commands.run(
        "--strategy", "frozen", "lora", "full", "--vary", "training.steps=2,9", "--workers", "2"
    )
    names = [title.split(" on ")[0] for title in Fake.order]
    assert names == ["full", "lora", "full", "lora", "frozen", "lora"]
    out = capsys.readouterr().out
    assert out.count("another process is at it") == 1
    assert code == 1, "nothing was left by any of them"
    assert "its process ended with the code 0" in out


def test_shares_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 5}, raising=False)
    monkeypatch.setattr("peftcorr.sweep.launchers.local.gpus", lambda: [])
    assert slots(2, 1) == [Slot((0, 1), ()), Slot((2, 5), ())]
    assert [slot.cores for slot in slots(3, 1)] == [(0,), (1,), (2, 5)]
    assert [slot.cores for slot in slots(6, 1)] == [(0,), (0,), (1,), (2,), (2,), (5,)]
    monkeypatch.setattr("peftcorr.sweep.launchers.local.gpus", lambda: ["4", "6", "7"])
    assert [slot.devices for slot in slots(3, 1)] == [("4",), ("6",), ("7",)]
    assert [slot.devices for slot in slots(2, 2)] == [("4", "6"), ("7", "4")]


def test_a_job_of_other_data_is_refused(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    """What was planned is what is run, wherever the worker stands."""
    recipe = resolve(
        {"strategy": {"name": "frozen"}, "backbone": {"name": "small"}, "dataset": {"name": "pairs"}},
        [],
        None,
    )
    wrong = Job(
        recipe=recipe.model_dump(mode="json"), run_id="0" * 16, title="frozen on small", head="[1/1]",
        overwrite="missing", plugins=[], data_roots={"pairs": commands.photographs}, weights=commands.weights,
        output=commands.output, cache=commands.folder / "cache", memory=1 << 30, keep_features=False, shared=False,
        cache_limit=None, track=(),
    )  # fmt: skip
    with pytest.raises(PeftCorrError, match="are not here what they were when the sweep was planned"):
        carry_out(wrong, Progress(None))
    (commands.folder / "job.json").write_text("{}")
    with pytest.raises(PeftCorrError, match=r"--job .* is no job of a sweep"):
        read_job(commands.folder / "job.json")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--workers", "0"], "it must be at least 1"),
        (["--launcher", "lokal"], "Unknown launcher 'lokal'. Did you mean 'local'?"),
        (["--launcher-set", "partition=gpu"], "launcher 'local': there is no key 'partition'"),
    ],
)
def test_a_wrong_command(
    commands: Commands, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    if "0" in flags:
        with pytest.raises(SystemExit):
            commands.run("--strategy", "frozen", *flags)
    else:
        assert commands.run("--strategy", "frozen", *flags) == 2
    assert said in capsys.readouterr().err
    assert commands.records() == []


class Afar(Launcher):
    """Jobs on a machine with a disk of its own."""

    name = "afar"
    sees_output = False

    def endings(self, jobs: Sequence[Job]) -> Iterator[Ending | None]:
        raise AssertionError("it was started")


def test_a_job_afar_knows_what_was_tuned_and_has_no_adapter_to_start_from(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = {"name": "window_softargmax", "radius": 1, "temperature": 5.0}
    monkeypatch.setattr("peftcorr.engine.plan.chosen_predictor", lambda *_: window)
    bench = Workbench(
        {"pairs": commands.photographs},
        commands.weights,
        commands.output,
        commands.folder / "cache",
        Progress(None),
    )
    named = {"strategy": "lora", "backbone": "small", "dataset": "pairs", "predictors": ["tuned", "argmax"]}
    recipe = resolve(named, [], None)
    plan = finalise(recipe, bench)
    [one] = job.jobs([(recipe, plan)], bench, [], "missing")
    monkeypatch.undo()  # a node has no file of what was chosen
    there = finalise(Recipe.model_validate(one.recipe), bench)
    assert (there.run_id, there.labels) == (plan.run_id, plan.labels)
    begun = replace(plan, initial=SimpleNamespace(record=SimpleNamespace(run_id="first")))  # type: ignore[arg-type]
    afar = Afar(Afar.Config(), Share(1))
    with pytest.raises(
        PeftCorrError, match="--init-from first needs that run's adapter, which jobs of --launcher afar"
    ):
        dispatch([begun], [one], afar, bench, "missing")
    assert not commands.output.exists()


def test_an_interrupted_sweep_leaves_no_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one whose process could not be started."""
    monkeypatch.setattr("peftcorr.sweep.launchers.local._work", _sleep)
    forking = multiprocessing.get_context("fork")  # at once, with nothing to import
    context = SimpleNamespace(set_forkserver_preload=lambda _: None, Process=forking.Process)
    monkeypatch.setattr("peftcorr.sweep.launchers.local.multiprocessing.get_context", lambda _: context)
    launcher = Local(Local.Config(), Share(1))
    waiting = [
        Job(
            recipe={}, run_id=name * 16, title="", head="", overwrite="missing", plugins=[], data_roots={},
            weights=None, output=tmp_path, cache=tmp_path, memory=1, keep_features=False, shared=False,
            cache_limit=None, track=(),
        )
        for name in "01"
    ]  # fmt: skip
    endings = launcher.endings(waiting)
    assert next(endings) is None
    again = launcher.endings(waiting)  # another sweep that has the same cells
    assert next(again) is None
    files = list((tmp_path / "logs").glob(".*/*.json"))
    assert [file.name for file in files] == ["0000000000000000.json"] * 2
    again.close()  # type: ignore[attr-defined]
    [file] = (tmp_path / "logs").glob(".*/*.json")
    assert file in files
    endings.close()  # type: ignore[attr-defined]
    assert list((tmp_path / "logs").iterdir()) == []


def _sleep(*_: object) -> None:
    time.sleep(600)

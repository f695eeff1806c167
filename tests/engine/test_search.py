"""The search of the learning rate: it takes the best, and goes on where it was killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peftcorr.engine.train import validation_pck
from peftcorr.errors import PeftCorrError
from peftcorr.machine.termination import Terminated, listening
from tests.engine.building import Job, assert_equal
from tests.engine.killing import COMMON, Killed, count_steps, drop_seconds, kill_at

SEARCH = {"search": {"learning_rates": [1e-9, 1e30, 1e-2, 1e-8], "steps": 5}}


def scripted(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
    values = iter(scores)
    monkeypatch.setattr("peftcorr.engine.train.validation_pck", lambda data, points: next(values))


def test_the_search_takes_the_rate_that_validates_best(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, [20, 40, 30, 41, 42, 43])
    steps = count_steps(monkeypatch)
    trained = Job(
        small_weights, photographs, tmp_path, steps=4, validate_every=2, learning_rate=None,
        search={"learning_rates": [1e-4, 1e-3, 1e-2], "steps": 3},
    ).run()  # fmt: skip
    assert trained.learning_rate == 1e-3
    assert [(point.learning_rate, point.pck, point.steps) for point in trained.search] == [
        (1e-4, 20, 3), (1e-3, 40, 3), (1e-2, 30, 3),
    ]  # fmt: skip
    assert steps == [0, 1, 2] * 3 + [0, 1, 2, 3]
    assert (trained.steps, trained.best_step) == (4, 4)


def test_a_rate_that_diverges_loses(photographs: Path, small_weights: Path, tmp_path: Path) -> None:
    trained = Job(small_weights, photographs, tmp_path, "adapter", warmup=0, **SEARCH).run()
    assert trained.search[1].pck == 0
    assert trained.learning_rate != 1e30
    assert trained.steps == 6


def test_every_candidate_starts_from_the_same_tensors(
    photographs: Path, small_weights: Path, tmp_path: Path
) -> None:
    """Two equal candidates give equal results, and the training after them that of the rate alone."""
    rates = {"learning_rates": [1e-2, 1e-2], "steps": 5}
    searched = Job(small_weights, photographs, tmp_path / "searched", "adaptformer", search=rates)
    found = drop_seconds(searched.run())
    assert found.search[0] == found.search[1]
    alone = Job(small_weights, photographs, tmp_path / "alone", "adaptformer", learning_rate=1e-2)
    assert drop_seconds(alone.run()).validation == found.validation
    assert_equal(searched.tensors(), alone.tensors())


@pytest.mark.parametrize("count", [7, 9, 17, 24])
def test_a_killed_search_ends_as_one_never_killed(
    photographs: Path, small_weights: Path, tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second candidate, in the fourth, or in the training after them; finished candidates are not rerun.

    The candidate under way goes on from its last state, of every second step.
    """
    every = {**COMMON, "search": {"learning_rates": [1e-9, 1e-3, 1e-2, 1e-8], "steps": 5}}
    unbroken = Job(small_weights, photographs, tmp_path / "unbroken", "adaptformer", **every)
    expected = drop_seconds(unbroken.run())
    job = Job(small_weights, photographs, tmp_path / "killed", "adaptformer", **every)
    kill_at(job, count)
    with pytest.raises(Killed):
        job.run()
    steps = count_steps(monkeypatch)
    again = Job(small_weights, photographs, tmp_path / "killed", "adaptformer", **every)
    assert drop_seconds(again.run()) == expected
    assert_equal(again.tensors(), unbroken.tensors())
    assert len(steps) == {7: 15, 9: 13, 17: 5, 24: 0}[count] + (10 if count < 24 else 8)
    assert sorted(path.name for path in again.folder.iterdir()) == ["search.json", "step-00000010"]


def test_sigterm_in_a_search_loses_no_step(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    """In a step of the second candidate, and in the validation at the end of the third."""
    every = {**COMMON, "checkpoint_every": 100, "search": {"learning_rates": [1e-9, 1e-3, 1e-2], "steps": 5}}
    unbroken = Job(small_weights, photographs, tmp_path / "unbroken", "adaptformer", **every)
    expected = drop_seconds(unbroken.run())

    def job() -> Job:
        return Job(small_weights, photographs, tmp_path / "ended", "adaptformer", **every)

    def at(count: int, call: Callable[..., Any]) -> Callable[..., Any]:
        calls = []

        def ending(*arguments: object) -> Any:
            calls.append(arguments)
            if len(calls) == count:
                os.kill(os.getpid(), signal.SIGTERM)
            return call(*arguments)

        return ending

    first = job()
    first.trainer.sampler.batch = at(8, first.trainer.sampler.batch)  # type: ignore[method-assign]
    with listening(), pytest.raises(Terminated):
        first.run()
    assert sorted(path.name for path in first.folder.iterdir()) == ["search-2-step-00000003", "search.json"]
    with monkeypatch.context() as patch:
        patch.setattr("peftcorr.engine.train.validation_pck", at(2, validation_pck))
        steps = count_steps(patch)
        with listening(), pytest.raises(Terminated):
            job().run()
    assert steps == [3, 4, 0, 1, 2, 3, 4]
    assert "search 0.001: going on from step 3 of 5" in said
    steps = count_steps(monkeypatch)
    last = job()
    assert drop_seconds(last.run()) == expected
    assert steps == list(range(10))
    assert_equal(last.tensors(), unbroken.tensors())


def test_a_search_needs_a_validation_split(photographs: Path, small_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(PeftCorrError, match="needs a validation split"):
        Job(small_weights, photographs, tmp_path, validate=False, **SEARCH).run()


def test_a_damaged_search_file_is_set_aside_and_said(
    photographs: Path, small_weights: Path, tmp_path: Path, said: list[str]
) -> None:
    job = Job(small_weights, photographs, tmp_path, **SEARCH)
    job.folder.mkdir(parents=True)
    (job.folder / "search.json").write_text("[{")
    assert len(job.run().search) == 4
    [line] = [line for line in said if "is damaged" in line]
    assert "search.json" in line
    assert "searched anew" in line

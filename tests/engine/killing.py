"""Trainings that are killed at a certain step."""

from __future__ import annotations

from typing import Any

import pytest

from peftcorr.engine.optimisation import Optimisation, Stepped
from peftcorr.engine.train import Trained
from tests.engine.building import Job


class Killed(BaseException):
    """Stands for the signal that ends a process: no handler of ours runs."""


def kill_at(job: Job, count: int) -> None:
    """Let a job die when it draws its batch number `count`."""
    sampler, drawn = job.trainer.sampler, []
    batch = sampler.batch

    def dying(*arguments: int) -> Any:
        drawn.append(arguments)
        if len(drawn) == count:
            raise Killed
        return batch(*arguments)

    sampler.batch = dying  # type: ignore[method-assign]


def drop_seconds(trained: Trained) -> Trained:
    trained.seconds = 0
    for point in (*trained.validation, *trained.search):
        point.seconds = 0
    return trained


def count_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the steps that are trained from here on."""
    steps: list[int] = []
    step = Optimisation.step

    def counting(self: Optimisation, *arguments: Any) -> Stepped:
        steps.append(arguments[-1])
        return step(self, *arguments)

    monkeypatch.setattr(Optimisation, "step", counting)
    return steps


COMMON: dict[str, Any] = {"steps": 10, "checkpoint_every": 2, "validate_every": 4}

"""A tracker that keeps in memory what it is told, where Accelerate and peftcorr take it for one that is installed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from accelerate import tracking
from accelerate.tracking import GeneralTracker
from accelerate.utils import LoggerType


@dataclass
class Told:
    """One run of a tracker: how it was opened, and its points by curve and step."""

    project: str
    options: dict[str, Any]
    config: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    closed: bool = False


def pretend(name: str, patch: pytest.MonkeyPatch, fails: str = "") -> list[Told]:
    """Put a tracker in the place of one of Accelerate's; returns its runs, one after the other.

    Args:
        name: whose place it takes.
        patch: undoes that.
        fails: the method that raises an error, if any.
    """
    runs: list[Told] = []

    class Noting(GeneralTracker):  # type: ignore[misc]
        requires_logging_directory = False

        def __init__(self, project: str, **options: Any):
            self.name = name
            self.run = Told(project, options)

        @property
        def tracker(self) -> Told:
            return self.run

        def start(self) -> None:
            runs.append(self.run)
            self._fail("start")

        def store_init_configuration(self, values: dict[str, Any]) -> None:
            self.run.config = values

        def log(self, values: dict[str, float], step: int | None = None, **more: Any) -> None:
            assert step is not None
            for curve, value in values.items():
                self.run.curves.setdefault(curve, []).append((step, value))
            self._fail("log")

        def finish(self) -> None:
            self.run.closed = True

        def _fail(self, method: str) -> None:
            if method == fails:
                raise ConnectionError(f"no answer to {method}")

    Noting.name = name
    known = {*tracking.get_available_trackers(), LoggerType(name)}
    patch.setattr(tracking, "_available_trackers", list(known))
    patch.setitem(tracking.LOGGER_TYPE_TO_CLASS, name, Noting)
    patch.setattr("peftcorr.machine.trackers.find_spec", lambda package: object())
    return runs

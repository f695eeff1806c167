"""What TensorBoard, W&B, MLflow or Trackio are told of a training, through Accelerate."""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration

from peftcorr.errors import PeftCorrError, reason
from peftcorr.files import read_json, write_json
from peftcorr.machine.trackers import require_installed, settle

PROJECT = "peftcorr"
"""What projects and experiments are called, unless WANDB_PROJECT or MLFLOW_EXPERIMENT_NAME says otherwise."""

_BEGUN = ".trackers.json"  # hidden: alone it is no state that a training goes on from


@dataclass(frozen=True)
class Tracked:
    """The training that trackers are told of.

    Attributes:
        title: it in a few words.
        run_id: of its record.
        recipe: as the record has it.
        folder: where trackers write that have no server.
        state: folder of the training's resumable state, which remembers what the trackers call it.
    """

    title: str
    run_id: str
    recipe: Mapping[str, Any]
    folder: Path
    state: Path

    @property
    def name(self) -> str:
        """What it is called; a folder of that name can be made anywhere."""
        title = re.sub(r"[^\w.=-]+", "-", self.title, flags=re.ASCII)[:100].strip("-.")
        return f"{title}-{self.run_id}"

    def config(self) -> dict[str, str | int | float | bool | None]:
        """The recipe as flat names and plain values: ``strategy.rank``."""
        return {"run_id": self.run_id, **dict(_flat(self.recipe, ""))}


def _flat(section: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in section.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", json.dumps(value) if isinstance(value, list) else value))
    return found


class Trackers:
    """The trackers of one training; one that fails is left, with a line that says so, and the training goes on.

    They are told on the main process alone. Must be made before the training's own `Accelerator`, whose gradient
    accumulation would else become this one's: Accelerate has one state a process.

    Args:
        names: of `peftcorr.machine.trackers.TRACKERS`.
        training: what they are told of.
        say: prints a line.

    Attributes:
        seconds: that telling took so far, which are none of the training's.
    """

    def __init__(self, names: Sequence[str], training: Tracked, say: Callable[[str], None]):
        self._training, self._say = training, say
        self.seconds = 0.0
        self._told: dict[str, Accelerator] = {}  # one each, so that one that fails takes no other with it
        if "mlflow" in names:
            settle(training.folder)
        for name in names:
            project = ProjectConfiguration(logging_dir=str(training.folder / name))
            accelerator = Accelerator(log_with=name, project_config=project)
            if accelerator.is_main_process:
                self._told[name] = accelerator

    def begin(self, step: int) -> None:
        """Open a run in each tracker, or the one that an earlier process of this training opened.

        Args:
            step: the last one that the curves keep; what an earlier process told of later ones is made again.
        """
        known = self._known()
        for name in list(self._told):
            self._attempt(name, partial(self._open, name, known, step))
        if self._told:
            with suppress(PeftCorrError):  # a full disk; the training itself will say so
                write_json(self._training.state / _BEGUN, known)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Add a point to each curve.

        Args:
            values: by name of the curve.
            step: optimiser steps made.
        """
        begun = time.monotonic()
        for name, accelerator in list(self._told.items()):
            self._attempt(name, partial(accelerator.log, dict(values), step=step))
        self.seconds += time.monotonic() - begun

    def end(self) -> None:
        """Close the runs."""
        for name in list(self._told):
            self._attempt(name, partial(self._close, name))

    def _open(self, name: str, known: dict[str, str], step: int) -> None:
        require_installed([name])
        self._training.folder.mkdir(parents=True, exist_ok=True)
        resumed, accelerator = known.get(name), self._told[name]
        own = uuid.uuid4().hex if resumed is None else resumed
        project, options = self._options(name, resumed, own, step)
        config = self._training.config() if resumed is None else None
        accelerator.init_trackers(project, config, {name: options})
        if name == "mlflow":
            own = accelerator.trackers[0].tracker.info.run_id
        known[name] = own

    def _options(self, name: str, resumed: str | None, own: str, step: int) -> tuple[str, dict[str, Any]]:
        """Name of the project, and what else a tracker's first call takes.

        Args:
            name: of the tracker.
            resumed: what it calls the training already.
            own: what W&B will call it.
            step: the last one that its curves keep.
        """
        title = f"{self._training.title} ({self._training.run_id})"
        if name == "tensorboard":  # whose projects are folders
            return self._training.name, {"purge_step": step + 1}
        if name == "wandb":
            folder = str(self._training.folder)
            return os.environ.get("WANDB_PROJECT", PROJECT), {
                "id": own, "name": title, "resume": "allow", "dir": folder,
            }  # fmt: skip
        if name == "mlflow":
            return PROJECT, {"run_name": title, "run_id": resumed}
        return PROJECT, {"name": title, "resume": "never" if resumed is None else "allow"}

    def _close(self, name: str) -> None:
        for tracker in self._told[name].trackers:  # Accelerate's end_training would part the processes too
            tracker.finish()

    def _attempt(self, name: str, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception as error:
            self._say(f"The tracker {name} failed ({reason(error)}): the training goes on without it.")
            accelerator = self._told.pop(name)
            for tracker in accelerator.trackers:
                with suppress(Exception):  # a run left open would be in the way of the next training's
                    tracker.finish()

    def _known(self) -> dict[str, str]:
        with suppress(OSError, ValueError):
            return dict(read_json(self._training.state / _BEGUN))
        return {}

"""Small runs with everything that a run leaves and reads again."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from peftcorr.cli import main
from peftcorr.console.progress import Progress
from peftcorr.engine.plan import Plan, finalise
from peftcorr.engine.workbench import Workbench
from peftcorr.pipeline import run
from peftcorr.recipe import resolve

STRATEGIES = ("frozen", "lora", "dora")
_RECIPE = """\
backbone: {name: tiny, image_size: 56}
dataset:
  name: synthetic
  categories: [car]
  images: {trn: 3, val: 2, test: 3}
  pairs: {trn: 6, val: 2, test: 6}
training: {steps: 4, images: 3, validate_every: 1, checkpoint_every: 1}
"""


class Stopping(Progress):
    """Stops a training as Ctrl-C does, when it tells of its third step."""

    def say(self, text: str) -> None:
        """Stop, or do nothing."""
        if text.startswith("step 3:"):
            raise KeyboardInterrupt


@dataclass(frozen=True)
class SmallRuns:
    """What was run, and where it lies.

    Attributes:
        folder: has all of it: ``out``, ``cache``, and in ``elsewhere`` predictions without their records.
        finished: plans of the runs that ended, by strategy.
        stopped: the plan of the training that was stopped after its second step.
    """

    folder: Path
    finished: Mapping[str, Plan]
    stopped: Plan

    @property
    def output(self) -> Path:
        """Output folder of the runs."""
        return self.folder / "out"

    @property
    def cache(self) -> Path:
        """Cache folder of the runs."""
        return self.folder / "cache"

    @property
    def pickled(self) -> Path:
        """The video of a test split, as TAP-Vid publishes it."""
        return self.folder / "tapvid_davis.pkl"

    def bench(self) -> Workbench:
        """A workbench that has opened nothing yet, as a new process has."""
        return _bench(self.folder)

    def command(self, *arguments: str | Path) -> tuple[int, str]:
        """Run a command of peftcorr here; returns its exit code and what it printed."""
        return _command(self.folder, *arguments)


def make(folder: Path) -> SmallRuns:
    """Make the runs: three that end, one that is stopped, and a predictor that is tuned."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(_RECIPE, encoding="utf-8")
    _write_video(folder / "tapvid_davis.pkl")
    bench, finished = _bench(folder), {}
    for strategy in STRATEGIES:
        given: dict[str, Any] = {"strategy": {"name": strategy}}
        if strategy == "frozen":
            given["eval_on"] = [{"name": "tapvid_davis"}]
        finished[strategy] = finalise(resolve(given, [], recipe), bench)
        run(finished[strategy], bench)
    more = ["strategy.rank=4", "training.search={learning_rates: [0.001, 0.003], steps: 1}"]
    stopped = finalise(resolve({"strategy": {"name": "lora"}}, more, recipe), bench)
    with contextlib.suppress(KeyboardInterrupt):
        run(stopped, _bench(folder, Stopping(None)))
    tuned = ("--radius", "0", "1", "--temperature", "5", "--output", folder / "out")
    _command(folder, "tune-predictor", "--recipe", recipe, "--strategy", "frozen", *tuned)
    shutil.copytree(folder / "out" / "predictions", folder / "elsewhere")
    return SmallRuns(folder, finished, stopped)


def _bench(folder: Path, progress: Progress | None = None) -> Workbench:
    return Workbench(
        {"tapvid_davis": folder},
        None,
        folder / "out",
        folder / "cache",
        progress or Progress(None),
        keep_features=True,
    )


def _command(folder: Path, *arguments: str | Path) -> tuple[int, str]:
    printed = io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        mock.patch.dict(os.environ, PEFTCORR_CACHE=str(folder / "cache"), COLUMNS="400"),
        mock.patch("peftcorr.machine.launch.use_all_cores"),
    ):
        code = main([str(argument) for argument in arguments])
    return code, printed.getvalue()


def _write_video(path: Path) -> None:
    """Four frames of noise, and two points that are always seen."""
    rng = np.random.default_rng(0)
    video = {
        "video": rng.integers(0, 256, (4, 24, 32, 3), dtype=np.uint8),
        "points": rng.uniform(0.2, 0.8, (2, 4, 2)),
        "occluded": np.zeros((2, 4), dtype=bool),
    }
    path.write_bytes(pickle.dumps({"noise": video}, 4))

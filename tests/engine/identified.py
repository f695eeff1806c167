"""Plans of small runs, and what a sweep says where one of the same recipe was measured before."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from peftcorr.console.progress import Progress
from peftcorr.engine.plan import Plan, finalise
from peftcorr.engine.workbench import Workbench
from peftcorr.metrics.scores import CategoryMean, Scores
from peftcorr.recipe import resolve
from peftcorr.results.record import Record
from peftcorr.sweep.here import sweep

PCK = {"0.1": 12.34}


class Desk:
    """Makes plans as a new process would: nothing is known but what lies in its folders.

    Attributes:
        folder: below which output and cache lie.
        weights: of the small backbone; None for those of the hub.
        roots: data roots by dataset's name.
    """

    def __init__(self, folder: Path, weights: Path | None, roots: dict[str, Path] | None = None):
        self.folder = folder
        self.weights = weights
        self.roots = roots or {}
        self.output, self.cache = folder / "out", folder / "cache"

    def bench(self) -> Workbench:
        return Workbench(self.roots, self.weights, self.output, self.cache, Progress(None))

    def plan(self, *assignments: str, **sections: Any) -> Plan:
        """Finalise ``--set`` of `assignments` on sections of a recipe; frozen and small where they say nothing."""
        command_line = {"strategy": {"name": "frozen"}, "backbone": {"name": "small"}} | {
            key: {"name": value} if isinstance(value, str) else value for key, value in sections.items()
        }
        return finalise(resolve(command_line, list(assignments), None), self.bench())

    def measured(self, plan: Plan) -> Record:
        """Leave the record of a run of that plan, whose PCK@0.1 was 12.34."""
        assert plan.model.weights is not None
        scores = Scores(
            per_keypoint=PCK,
            per_image=PCK,
            per_category={},
            category_mean=CategoryMean(per_keypoint=PCK, per_image=PCK),
            n_pairs=1,
            n_keypoints=1,
        )
        record = Record(
            run_id=plan.run_id,
            status="ok",
            recipe=plan.recipe.model_dump(mode="json"),
            ingredients=dict(plan.ingredients),
            strategy=plan.recipe.strategy["name"],
            backbone=plan.recipe.backbone["name"],
            weights_id=plan.model.weights.id,
            weights_sha256=plan.model.weights.sha256,
            official_weights=False,
            dataset=plan.dataset.name,
            seed=plan.recipe.seed,
            scores={f"{plan.dataset.name}/test": {"argmax": scores}},
        )
        self.bench().store.write(record)
        return record

    def said(self, plan: Plan) -> list[str]:
        """Lines that a sweep says of a plan before it runs it, which it does not do here."""
        console = Console(file=io.StringIO(), width=1000)
        bench = self.bench()
        bench.progress = Progress(console)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("peftcorr.sweep.here.run", lambda plan, bench: None)
            assert sweep([plan], bench, "missing")[0].status == "ran"
        *before, running = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert running == f"[1/1] {plan.title} ({plan.run_id}): running"
        return before


def copied(folder: Path, goal: Path, seconds: int = 1_000_000_000) -> Path:
    """Copy a folder elsewhere, all its files and folders of another time."""
    shutil.copytree(folder, goal)
    for path in (goal, *goal.rglob("*")):
        os.utime(path, (seconds, seconds))
    return goal


def flip(path: Path, place: int = -20) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)

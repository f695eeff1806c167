"""Which images are compared: all that were trained on, with those that were tested and no others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate import Accelerator
from rich.console import Console

from peftcorr.backbones import Backbone
from peftcorr.console.progress import Progress
from peftcorr.data.frame import FRAMINGS
from peftcorr.data.identity import annotation_digest
from peftcorr.data.leakage import Leakage
from peftcorr.engine.scoring import _leakage
from peftcorr.engine.workbench import Workbench
from peftcorr.results.record import Stage
from tests.small_folder import write_folder


@pytest.mark.parametrize("limit", [1, 3, None])
def test_tested_pairs_beyond_the_limit_are_not_compared(
    photographs: Path, tmp_path: Path, limit: int | None
) -> None:
    """The folder's splits have the same eight photographs; a limit is of what is scored, not of what is trained on."""
    bench = Workbench({"": photographs}, None, tmp_path / "out", tmp_path / "cache", Progress(None))
    source = bench.source({"name": "pairs"})
    plan: Any = SimpleNamespace(
        dataset=source,
        tested=(source,),
        model=SimpleNamespace(options=Backbone.Config(image_size=32)),
        recipe=SimpleNamespace(limit_pairs=limit),
        framing=FRAMINGS["peftcorr"],
        initial=None,
    )
    table = source.load("test").limited(limit).table
    tested = {*table["source_image"], *table["target_image"]}
    assert len(tested) == {1: 2, 3: 5, None: 8}[limit]
    [(name, found)] = _leakage(plan, bench, Accelerator(cpu=True)).items()
    assert name == "photographs/test"
    assert found == Leakage(
        trained_images=8, tested_images=len(tested), identical=len(tested), near=0, examples=found.examples
    )
    assert {path for pair in found.examples for path in pair} <= tested


@pytest.mark.parametrize("annotation", ["its own", "another"])
def test_what_a_training_before_it_saw_is_compared_too(
    photographs: Path, tmp_path: Path, annotation: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained on one folder, then on another, tested on the first one's photographs."""
    more = write_folder(tmp_path / "more", seed=3)
    bench, other = (
        Workbench({"": root}, None, tmp_path / "out", tmp_path / "cache", Progress(Console()))
        for root in (photographs, more)
    )
    source = bench.source({"name": "pairs"})
    own = annotation_digest(source.load("trn"))
    stage = Stage(
        run_id="first",
        dataset="photographs",
        section={"name": "pairs"},
        steps=1,
        seed=0,
        adapter_sha256="0",
        annotation=own if annotation == "its own" else annotation,
    )
    plan: Any = SimpleNamespace(
        dataset=other.source({"name": "pairs"}),
        tested=(source,),
        model=SimpleNamespace(options=Backbone.Config(image_size=32)),
        recipe=SimpleNamespace(limit_pairs=None),
        framing=FRAMINGS["peftcorr"],
        initial=SimpleNamespace(chain=[stage]),
    )
    [found] = _leakage(plan, bench, Accelerator(cpu=True)).values()
    missing = annotation == "another"
    assert (found.trained_images, found.identical) == ((8, 0) if missing else (16, 8))
    assert found.not_compared == (["first"] if missing else [])
    said = " ".join(capsys.readouterr().out.split())
    assert ("the run first was trained on are not here, or are others by now" in said) == missing

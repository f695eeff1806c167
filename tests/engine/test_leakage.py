"""Which images are compared: all that were trained on, with those that were tested and no others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate import Accelerator

from peftcorr.backbones import Backbone
from peftcorr.console.progress import Progress
from peftcorr.data.frame import FRAMINGS
from peftcorr.data.leakage import Leakage
from peftcorr.engine.scoring import _leakage
from peftcorr.engine.workbench import Workbench


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

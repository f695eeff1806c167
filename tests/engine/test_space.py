"""Bytes that a run will write, counted by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from peftcorr.console.progress import Progress
from peftcorr.engine.plan import Model
from peftcorr.engine.space import Space, space
from peftcorr.engine.workbench import Workbench
from peftcorr.recipe import Training
from tests.small_models import Small


@pytest.fixture
def bench(photographs: Path, tmp_path: Path) -> Workbench:
    return Workbench({"": photographs}, None, tmp_path / "out", tmp_path / "cache", Progress(None))


def plan(
    bench: Workbench,
    strategy: str,
    limit: int | None = None,
    convention: str = "peftcorr",
    eval_on: Any = None,
    hold_out: Any = None,
    **training: Any,
) -> Any:
    source = bench.source({"name": "pairs"})
    section = {"name": strategy, **({"k": 2} if strategy == "last_k" else {})}
    return SimpleNamespace(
        dataset=source,
        tested=(source, source),
        predictors=("one", "another", "a third"),
        trains=strategy != "frozen",
        model=Model(Small, Small.Config(), None, section),
        recipe=SimpleNamespace(
            limit_pairs=limit,
            training=Training(**training),
            dataset={"name": "pairs", **({"hold_out": hold_out} if hold_out else {})},
            backbone={"name": "small"},
            score_precision="fp32",
            convention=convention,
            eval_on=eval_on or [],
        ),
    )


def bare(found: Space) -> Space:
    """Without what it has in common with other runs."""
    return replace(found, common="")


def test_predictions_of_all_tests_and_predictors(bench: Workbench) -> None:
    """Twelve bytes a keypoint, dataset and predictor; a limit of pairs takes as large a part of the keypoints."""
    table = bench.source({"name": "pairs"}).load("test").table
    pairs, points = len(table), sum(map(len, table["target_keypoints"]))
    assert replace(bare(space(plan(bench, "frozen"), bench)), tested=0) == Space(2 * 3 * 12 * points, 0, 0)
    assert space(plan(bench, "frozen", limit=pairs + 1), bench).kept == 2 * 3 * 12 * points
    assert space(plan(bench, "frozen", limit=5), bench).kept == 2 * 3 * 12 * (5 * points // pairs)


def test_tensors_of_the_strategy_and_its_states(bench: Workbench) -> None:
    """Four bytes a number; while a state is written the last one is there: each has it, the best and two moments."""
    tensors = 4 * 4 * 8 * 32 * 3
    predictions = space(plan(bench, "frozen"), bench).kept
    assert bare(space(plan(bench, "lora"), bench)) == Space(predictions + tensors, 2 * 4 * tensors, 0)


@pytest.mark.parametrize(
    ("training", "size"),
    [({}, 4), ({"prefix_cache": "bf16"}, 2), ({"prefix_cache": "none"}, 0), ({"colour_jitter": 0.1}, 0)],
)
def test_states_before_the_first_trainable_block(
    bench: Workbench, training: dict[str, Any], size: int
) -> None:
    """17 tokens of 32 for each of the eight images of trn and of val; of the last two of three blocks."""
    assert space(plan(bench, "last_k", **training), bench).prefixes == 2 * 8 * 17 * 32 * size


def test_features_of_a_frozen_backbone(bench: Workbench) -> None:
    """16 cells of 32 numbers for each of the eight images of both tests; a limit of pairs has some of them."""
    assert space(plan(bench, "frozen"), bench).tested == 2 * 8 * 16 * 32 * 4
    table = bench.source({"name": "pairs"}).load("test").limited(1).table
    images = len({*table["source_image"], *table["target_image"]})
    assert space(plan(bench, "frozen", limit=1), bench).tested == 2 * images * 16 * 32 * 4


def test_runs_share_what_is_made_of_the_same_images_alone(bench: Workbench) -> None:
    other = [{"name": "pairs", "folder": "another"}]
    for strategy in ("frozen", "last_k"):
        own = space(plan(bench, strategy), bench).common
        assert own
        assert own == space(plan(bench, strategy, limit=3), bench).common
        assert own != space(plan(bench, strategy, convention="dift"), bench).common
        # A training shares what it trains on, whatever it is tested on; an untrained run has its tests alone.
        assert (own == space(plan(bench, strategy, eval_on=other), bench).common) == (strategy == "last_k")
    held = {"keypoints": ["bird/0"]}
    one, two = (space(plan(bench, "frozen", hold_out=option), bench).common for option in (None, held))
    assert one == two

"""What runs have to have in common to be seeds of one method."""

from __future__ import annotations

from typing import Any

import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.results.protocol import check_seeds
from peftcorr.results.record import Record, Stage


def record(seed: int, **recipe: Any) -> Record:
    """As much of a record as is asked for."""
    whole = {"strategy": {"name": "lora"}, "training": {"steps": 4}, **recipe, "seed": seed}
    return Record.model_construct(recipe=whole, seed=seed)


def test_seeds_of_one_recipe_are_a_method_and_so_are_runs_without_records() -> None:
    check_seeds([record(0), record(1), record(2)], ["a", "b", "c"])
    check_seeds([None, record(0), None], ["a", "b", "c"])
    check_seeds([record(0)], ["a"])


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (
            record(1, strategy={"name": "ssf"}),
            "a and b are no two seeds of one method: their recipes differ in strategy",
        ),
        (record(1, training={"steps": 5}), "differ in training"),
        (record(0), "have the same seed, 0"),
    ],
)
def test_other_runs_are_refused(second: Record, said: str) -> None:
    with pytest.raises(PeftCorrError, match=said):
        check_seeds([record(0), second], ["a", "b"])


def begun_from(seed: int, run: str, dataset: str) -> Record:
    stage = Stage.model_construct(run_id=run, dataset=dataset)
    return record(seed, init_from=run).model_copy(update={"chain": [stage]})


def test_each_seed_may_start_from_a_run_of_its_own() -> None:
    check_seeds([begun_from(0, "aa", "ap10k"), begun_from(1, "bb", "ap10k")], ["a", "b"])
    with pytest.raises(PeftCorrError, match="what the runs that they start from were trained on"):
        check_seeds([begun_from(0, "aa", "ap10k"), begun_from(1, "bb", "farm")], ["a", "b"])


def test_a_run_counts_once() -> None:
    with pytest.raises(PeftCorrError, match="a is named twice"):
        check_seeds([None, None], ["a", "a"])

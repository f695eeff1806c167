"""What runs have to have in common to be seeds of one method."""

from __future__ import annotations

from typing import Any

import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.results.protocol import check_seeds
from peftcorr.results.record import Record


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


def test_a_run_counts_once() -> None:
    with pytest.raises(PeftCorrError, match="a is named twice"):
        check_seeds([None, None], ["a", "a"])

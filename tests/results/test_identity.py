"""What of a recipe names a run, and what of its ingredients is said to have changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peftcorr.recipe import Recipe
from peftcorr.results.identity import changed, decisive, run_id
from peftcorr.results.store import read_record

RECIPE: dict[str, Any] = {
    "strategy": {"name": "lora", "rank": 8},
    "backbone": {
        "name": "fusion",
        "image_size": 32,
        "parts": [
            {"name": "small", "weight": 1.0, "weights": "one"},
            {"name": "other", "weight": 2.0, "weights": None},
        ],
    },
    "weights": {"id": "one + other", "sha256": "ab"},
    "dataset": {
        "name": "coco",
        "folder": "birds",
        "annotations": "annotations/{split}.json",
        "images": "images",
        "pair_lists": {"test": "cd"},
        "seed": 0,
    },
    "eval_on": [{"name": "pairs", "folder": "photographs", "layout": "large"}],
    "predictors": [{"name": "argmax"}],
    "seed": 0,
}
INGREDIENTS = {"weights": "ab", "annotation dataset/test": "12", "images dataset/test": "34"}


def with_value(keys: tuple[Any, ...], value: Any, document: Any = RECIPE) -> Any:
    """A copy in which the value that the keys lead to is another."""
    if not keys:
        return value
    made = list(document) if isinstance(document, list) else dict(document)
    made[keys[0]] = with_value(keys[1:], value, made[keys[0]])
    return made


@pytest.mark.parametrize(
    "keys",
    [
        ("weights", "id"),
        ("weights", "sha256"),  # an ingredient
        ("dataset", "folder"),
        ("dataset", "annotations"),
        ("dataset", "images"),
        ("dataset", "pair_lists"),
        ("eval_on", 0, "folder"),
        ("backbone", "parts", 0, "weights"),
        ("backbone", "parts", 1, "weights"),
    ],
)
def test_where_files_lie_and_what_they_are_called_does_not_count(keys: tuple[Any, ...]) -> None:
    assert run_id(with_value(keys, "another"), INGREDIENTS) == run_id(RECIPE, INGREDIENTS)


@pytest.mark.parametrize(
    "keys",
    [
        ("strategy", "rank"),
        ("backbone", "image_size"),
        ("backbone", "parts", 1, "weight"),
        ("backbone", "parts", 1, "name"),
        ("dataset", "name"),
        ("dataset", "seed"),
        ("eval_on", 0, "layout"),
        ("predictors", 0, "name"),
        ("seed",),
    ],
)
def test_everything_else_counts(keys: tuple[Any, ...]) -> None:
    assert run_id(with_value(keys, "another"), INGREDIENTS) != run_id(RECIPE, INGREDIENTS)


def test_the_order_of_keys_does_not_count_and_that_of_lists_does() -> None:
    backwards = dict(reversed(RECIPE.items())), dict(reversed(INGREDIENTS.items()))
    assert run_id(*backwards) == run_id(RECIPE, INGREDIENTS)
    two = {**RECIPE, "predictors": [{"name": "argmax"}, {"name": "softargmax"}]}
    turned = {**two, "predictors": two["predictors"][::-1]}
    assert run_id(two, INGREDIENTS) != run_id(turned, INGREDIENTS)


def test_each_ingredient_counts_and_is_named() -> None:
    for name in INGREDIENTS:
        without = {key: value for key, value in INGREDIENTS.items() if key != name}
        for now in (without, {**INGREDIENTS, name: "99"}):
            assert run_id(RECIPE, now) != run_id(RECIPE, INGREDIENTS)
            assert changed(INGREDIENTS, now) == changed(now, INGREDIENTS) == [name]
    more = {**INGREDIENTS, "commit": "ef", "plugin strategy own": "01"}
    assert changed(INGREDIENTS, more) == ["commit", "plugin strategy own"]
    assert changed(INGREDIENTS, dict(INGREDIENTS)) == []


def test_a_recipe_is_left_as_it_is() -> None:
    before = with_value((), RECIPE)
    decisive(RECIPE)
    assert before == RECIPE
    assert "weights" in RECIPE["backbone"]["parts"][0]


def test_an_id_is_sixteen_hexadecimal_digits() -> None:
    found = run_id({}, {})
    assert len(found) == 16
    assert int(found, 16) >= 0


def test_this_recipe_has_this_id() -> None:
    """Records lie under their ids in many folders: another id means that every cell is run again."""
    assert run_id(RECIPE, INGREDIENTS) == "17682565c1204454"


LEADERBOARD = Path(__file__).resolve().parents[2] / "leaderboard" / "records"


def test_every_committed_record_lies_under_the_id_of_what_it_was_made_from() -> None:
    """Those of version 1 have ids of another kind, and do not say what they were made from.

    A key of a recipe that is added later must be left out where it has its default, or every id changes.
    """
    records = {path.stem: read_record(path) for path in LEADERBOARD.glob("*.json")}
    assert {name: record.run_id for name, record in records.items()} == {name: name for name in records}
    for name, record in records.items():
        if record.schema_version == 2:
            assert run_id(record.recipe, record.ingredients) == name
            assert {"weights", "annotation dataset/test", "images dataset/test"} <= record.ingredients.keys()
            assert Recipe.model_validate(record.recipe).model_dump(mode="json") == record.recipe

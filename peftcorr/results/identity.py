"""What names a run: a hash of everything that decides its numbers, and of nothing else.

Two things go into it: the recipe, without what only says where files lie, and the *ingredients*: digests of what the
recipe names (annotation, images, weights, an adapter, a plugin's code). A folder that is copied, renamed or read on
another machine has the same; a keypoint that moves by half a pixel has others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peftcorr.files import digest

Ingredients = Mapping[str, str]
"""Digests by what they are of: ``annotation dataset/trn``, ``images eval_on.0/test``, ``weights``, ``plugin ...``."""

# Options of a dataset that say where its files lie, or repeat what the digests tell.
_PLACES = ("folder", "annotations", "images", "pair_lists")


def decisive(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as plain values, without names of folders and files, and without weights, which are an ingredient.

    Nor does the run that training starts from stand in it by its name: its adapter is an ingredient.
    """
    kept = {key: value for key, value in recipe.items() if key not in ("weights", "init_from")}
    if isinstance(kept.get("dataset"), dict):
        kept["dataset"] = _placeless(kept["dataset"])
    kept["eval_on"] = [_placeless(section) for section in kept.get("eval_on") or []]
    backbone = kept.get("backbone")
    if isinstance(backbone, dict) and isinstance(backbone.get("parts"), list):
        parts = [
            {key: value for key, value in part.items() if key != "weights"} for part in backbone["parts"]
        ]
        kept["backbone"] = {**backbone, "parts": parts}
    return kept


def _placeless(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key not in _PLACES}


def run_id(recipe: Mapping[str, Any], ingredients: Ingredients) -> str:
    """Name of a run, 16 hexadecimal digits."""
    return digest([decisive(recipe), dict(ingredients)])[:16]


def changed(before: Ingredients, now: Ingredients) -> list[str]:
    """Which ingredients are others, one more or one fewer, sorted."""
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))

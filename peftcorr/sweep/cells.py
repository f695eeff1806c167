"""The cells of a sweep: the product of every list that it was given, one run each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peftcorr.backbones import BACKBONES
from peftcorr.config import Section, merge, nested
from peftcorr.data import DATASETS
from peftcorr.engine.plan import Plan, finalise
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError, shortened
from peftcorr.files.reading import parse_yaml
from peftcorr.machine.agreement import everyones
from peftcorr.recipe import VARY, Recipe, read, resolve
from peftcorr.registry import Registry
from peftcorr.strategies import STRATEGIES

_SECTIONS: dict[str, Registry[Any]] = {"strategy": STRATEGIES, "backbone": BACKBONES, "dataset": DATASETS}


@dataclass(frozen=True)
class Asked:
    """What a sweep was asked for.

    Attributes:
        axes: recipe key to the values it takes; an empty list leaves the key to the recipe.
        fixed: recipe keys with one value.
        assignments: of ``--set``.
        recipe: file or name of a recipe.
        vary: of ``--vary``: options, by their dotted keys, to the values each takes.
    """

    axes: Mapping[str, Sequence[object]]
    fixed: Section
    assignments: Sequence[str] = ()
    recipe: Path | None = None
    vary: Mapping[str, Sequence[object]] | None = None


def cells(asked: Asked, bench: Workbench) -> list[tuple[Recipe, Plan]]:
    """Recipe, as it was asked for, and plan of every combination.

    Raises:
        PeftCorrError: if any cell is wrong, before the first one starts, or is not the same in every process.
    """
    found: dict[str, tuple[Recipe, Plan]] = {}
    for recipe in _combined(asked):
        plan = finalise(recipe, bench)
        found.setdefault(plan.run_id or plan.recipe.digest(), (recipe, plan))
    if any(other != list(found) for other in everyones(list(found))):
        raise PeftCorrError(
            "Data, weights, plugins or tuned predictors are not the same on every machine of this run: copy them, so "
            "that all come to the same run ids (--dry-run prints them)."
        )
    return list(found.values())


def parse_vary(given: Sequence[str]) -> dict[str, list[object]]:
    """``KEY=V1,V2`` of ``--vary`` as values by key.

    Raises:
        PeftCorrError: if one is written in another way.
    """
    found: dict[str, list[object]] = {}
    for text in given:
        key, equals, values = text.partition("=")
        try:
            parsed = parse_yaml(f"[{values}]")
        except ValueError as error:
            raise PeftCorrError(f"--vary {shortened(text)}: the values are no YAML ({error}).") from error
        if not equals or not key or not isinstance(parsed, list) or not parsed:
            raise PeftCorrError(f"--vary {shortened(text)}: write it as key=v1,v2, as in strategy.k=1,2,3.")
        found[key] = parsed
    return found


def _combined(asked: Asked) -> Iterator[Recipe]:
    varied = _varied(asked)
    axes = {key: values for key, values in asked.axes.items() if values}
    # Whole sections come first: which options there are is known once the names are.
    sections = {section: varied.pop(section) for section in _SECTIONS if section in varied}
    taken: set[str] = set()
    recipes = []
    command_lines = [
        merge({**asked.fixed, **dict(zip(axes, given, strict=True))}, dict(zip(sections, named, strict=True)))
        for given in itertools.product(*axes.values())
        for named in itertools.product(*sections.values())
    ]
    for command_line in command_lines:
        plain = resolve(command_line, list(asked.assignments), asked.recipe)
        own = {key: values for key, values in varied.items() if _has(plain, key)}
        taken |= set(own)
        if not own:
            recipes.append(plain)
            continue
        for values in itertools.product(*own.values()):
            chosen = nested(dict(zip(own, values, strict=True)))
            recipes.append(resolve(merge(command_line, chosen), list(asked.assignments), asked.recipe))
    for key in varied.keys() - taken:
        # No cell has that option: the first one says which it has.
        chosen = merge(command_lines[0], nested({key: varied[key][0]}))
        resolve(chosen, list(asked.assignments), asked.recipe)
        raise PeftCorrError(f"--vary {shortened(key)}: no cell of this sweep has that option.")
    yield from recipes


def _varied(asked: Asked) -> dict[str, list[object]]:
    """Options that are axes: those of the recipe, and those of the command line, which win."""
    there = read(asked.recipe).get(VARY, {}) if asked.recipe is not None else {}
    if not isinstance(there, dict) or not all(isinstance(v, list) and v for v in there.values()):
        raise PeftCorrError(
            f"--recipe {asked.recipe}: vary must be a mapping of options to lists of values, as in "
            "{strategy.k: [1, 2, 3]}."
        )
    given = [*there.items(), *(asked.vary or {}).items()]
    # A section's name stands for the section.
    named = {f"{section}.name": section for section in _SECTIONS}
    return {named.get(str(key), str(key)): list(values) for key, values in given}


def _has(recipe: Recipe, key: str) -> bool:
    """Whether a recipe has an option; what is no section of a name's own options is for `resolve` to judge."""
    section, _, option = key.partition(".")
    registry = _SECTIONS.get(section)
    if registry is None or not option:
        return True
    cls: Any = registry.get(getattr(recipe, section)["name"])
    return option.partition(".")[0] in cls.Config.model_fields

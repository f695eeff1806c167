"""What a row is called: its strategy, with as many options as tell it from every other row."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

_FIRST = ("learning_rate", "steps")  # what a reader looks for first when two rows differ in their training


def flatten(section: object, prefix: str = "") -> dict[str, Any]:
    """Flatten nested dictionaries: ``{"a": {"b": 1}}`` gives ``{"a.b": 1}``; lists stay whole."""
    if not isinstance(section, dict):
        return {prefix: section} if prefix else {}
    flat: dict[str, Any] = {}
    for key, value in section.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        flat.update(flatten(value, name) if isinstance(value, dict) else {name: value})
    return flat


def option_labels(sections: Sequence[dict[str, Any]], fewest: bool = False) -> list[str]:
    """Describe each of the flat `sections` by the options in which they differ.

    Args:
        sections: what to describe.
        fewest: leave out options that are not needed to tell the sections apart, the least telling first.

    Returns:
        one text per section such as ``"rank 8, targets q v"``, empty where nothing differs or nothing is set.
    """

    def distinct(keys: Sequence[str]) -> int:
        """How many of the sections some keys tell apart."""
        return len({_canonical({key: one[key] for key in keys if key in one}) for one in sections})

    known = dict.fromkeys(key for section in sections for key in section)
    keys = sorted((key for key in known if distinct([key]) > 1), key=_importance)
    if fewest:
        enough = (count for count in range(len(keys)) if distinct(keys[:count]) == len(sections))
        keys = keys[: next(enough, len(keys))]
    last = [key.rpartition(".")[2] for key in keys]
    shown = {key: short if last.count(short) == 1 else key for key, short in zip(keys, last, strict=True)}
    return [
        ", ".join(f"{shown[key].replace('_', ' ')} {_value(one[key])}" for key in keys if key in one)
        for one in sections
    ]


def groups_of(keys: Iterable[Hashable]) -> list[list[int]]:
    """Return the positions of equal keys together, in the order of first appearance."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        groups[key].append(index)
    return list(groups.values())


def with_options(name: str, *options: str) -> str:
    """Return ``name (option, option)``, leaving out what is empty."""
    shown = ", ".join(option for option in options if option)
    return f"{name} ({shown})" if shown else name


def _importance(key: str) -> int:
    name = key.removeprefix("training.")
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        whole = len(value) > 2 and all(type(item) is int for item in value)
        if whole and list(value) == list(range(value[0], value[0] + len(value))):
            return f"{value[0]}-{value[-1]}"
        return " ".join(_value(item) for item in value) or "none"
    return "none" if value is None else str(value)

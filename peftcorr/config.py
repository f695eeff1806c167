"""Sections of a recipe: a name with the options of the class that has it, and what to say of a wrong one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from peftcorr.errors import PeftCorrError, did_you_mean, shortened, shown
from peftcorr.registry import Registry

Section = dict[str, Any]

_DEEPEST = 16  # parts of a key


def make(registry: Registry[Any], section: Section) -> Any:
    """Build what a completed section names, from its class's own ``Config``."""
    cls: Any = registry.get(section["name"])
    return cls(cls.Config(**options(section)))


def options(section: Section) -> Section:
    """A section without its name."""
    return {key: value for key, value in section.items() if key != "name"}


def complete(registry: Registry[Any], value: object) -> Section:
    """Turn a name, or a name with options, into the full section with every option written out."""
    section = {"name": value} if isinstance(value, str) else value
    if not isinstance(section, dict) or not isinstance(section.get("name"), str):
        raise PeftCorrError(
            f"A {registry.kind} must be a name, or a mapping with a name: got {shown(value)}."
        )
    cls: Any = registry.get(section["name"])
    try:
        config = cls.Config.model_validate(options(section))
    except ValidationError as error:
        raise PeftCorrError(
            f"{registry.kind} {shown(section['name'])}: {explain(error, cls.Config)}"
        ) from error
    return {"name": section["name"], **config.model_dump(mode="json")}


def distinct(sections: Sequence[Section]) -> list[Section]:
    """Sections without those that stood before."""
    return [section for at, section in enumerate(sections) if section not in sections[:at]]


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Say in one sentence what is wrong with the first offending key, with the nearest right name."""
    problems = error.errors(include_url=False)
    # A misspelt key also leaves the right one missing: name the cause.
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        parent: Any = model
        for part in first["loc"][:-1]:
            field = parent.model_fields.get(part)
            parent = _model_of(field.annotation) if field is not None else parent
        return f"there is no key {shown(where)}.{did_you_mean(str(first['loc'][-1]), parent.model_fields)}"
    where = shortened(where) or "value"
    return f"{where} is {shown(first['input'])}: {shortened(first['msg'].lower(), 200)}."


def _model_of(annotation: Any) -> Any:
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next(item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel))


def merge(under: Section, over: Section) -> Section:
    """Lay `over` on `under`, mapping by mapping; a section that changes its name starts afresh."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, str) and isinstance(value, dict):
            below = {"name": below}
        if isinstance(value, str) and isinstance(below, dict) and "name" in below:
            value = {"name": value}
        if (
            isinstance(below, dict)
            and isinstance(value, dict)
            and value.get("name") in (None, below.get("name"))
        ):
            merged[key] = merge(below, value)
        else:
            merged[key] = value
    return merged


def nested(values: Mapping[str, Any]) -> Section:
    """Values by dotted keys (``training.steps``) as mappings in mappings; a later one is laid on those before.

    Raises:
        PeftCorrError: if a key has too many parts.
    """
    merged: Section = {}
    for key, value in values.items():
        parts = key.split(".")
        if len(parts) > _DEEPEST:
            raise PeftCorrError(f"{shortened(key)}: no key has more than {_DEEPEST} parts.")
        for part in reversed(parts):
            value = {part: value}
        merged = merge(merged, value)
    return merged

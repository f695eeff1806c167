"""What is known of a registered class: its options with default, range and meaning, its paper, an example."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import BaseModel, PydanticInvalidForJsonSchema, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from peftcorr.errors import PeftCorrError

Schema = Mapping[str, Any]

_TYPES = {"boolean": "true or false", "string": "text", "object": "mapping"}
_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
_CITATION = re.compile(r"""(?s)(?=.*(et al\.|")).*\b(19[89]\d|20[0-3]\d)\b""")


@dataclass(frozen=True)
class Option:
    """One key of a recipe's section.

    Attributes:
        name: dotted where the option lies in a section of its own.
        required: whether it has no default.
        default: as a recipe would write it.
        allowed: type and range, for people.
    """

    name: str
    required: bool
    default: Any
    allowed: str
    meaning: str


def schema_of(config: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a class's ``Config``.

    Raises:
        PeftCorrError: if an option is of a type that cannot be described.
    """
    try:
        return config.model_json_schema()
    except PydanticInvalidForJsonSchema as error:
        raise PeftCorrError(
            f"The options of {config.__qualname__} cannot be listed: {error.message}."
        ) from error


def options_of(config: type[BaseModel]) -> list[Option]:
    """Every option of a class's ``Config``, those of sections inside it one by one.

    Raises:
        PeftCorrError: as `schema_of`.
    """
    schema = schema_of(config)
    try:
        # A default may depend on others: a timm model's image size is the one that it was pretrained with.
        defaults = to_jsonable_python(config())
    except ValidationError:
        defaults = {}
    return list(_options(schema, schema.get("$defs", {}), defaults, "", ""))


def _options(
    schema: Schema, shared: Schema, defaults: Mapping[str, Any], prefix: str, about: str
) -> Iterator[Option]:
    for name, given in schema.get("properties", {}).items():
        part = _resolved(given, shared)
        default = defaults.get(name, given.get("default"))
        # A section's own docstring is not what it means here.
        meaning = ", ".join(text for text in (about, given.get("description", "")) if text)
        if "properties" in part:
            yield from _options(part, shared, default or {}, f"{prefix}{name}.", meaning)
        elif part.get("type") == "object" and default:  # its keys are known by what they are unless said
            for key, value in default.items():
                allowed = _allowed(TypeAdapter(type(value)).json_schema())
                yield Option(f"{prefix}{name}.{key}", False, value, allowed, meaning)
        else:
            required = name in schema.get("required", ()) and name not in defaults
            yield Option(prefix + name, required, default, _allowed(part), meaning)


def _resolved(given: Schema, shared: Schema) -> Schema:
    """A property with what it refers to, if it is a section or null too."""
    sections = [one for one in (given, *given.get("anyOf", ())) if "$ref" in one]
    if len(sections) != 1:
        return given
    own = {key: value for key, value in given.items() if key != "anyOf"}
    return {**shared[sections[0]["$ref"].rpartition("/")[2]], **own}


def _allowed(part: Schema) -> str:
    """Type and range in a few words: ``integer, >= 1 or null``."""
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(map(_allowed, part["anyOf"])))
    if "enum" in part or "const" in part:
        return " | ".join(map(str, part.get("enum", [part.get("const")])))
    kind: str = part.get("type", "any")
    if "prefixItems" in part:
        return f"list of {len(part['prefixItems'])}"
    if kind == "array":
        inner = _allowed(part.get("items", {}))
        least = f", at least {part['minItems']} of them" if part.get("minItems") else ""
        return f"list of {inner}{'s' * (inner in ('integer', 'number'))}{least}"
    limits = (f", {sign} {part[key]:g}" for key, sign in _BOUNDS.items() if key in part)
    return _TYPES.get(kind, kind) + "".join(limits)


def about(cls: type) -> str:
    """A class's docstring in plain words, its first line left out."""
    return plain(inspect.cleandoc(cls.__doc__ or "").partition("\n")[2])


def plain(text: str) -> str:
    """Paragraphs of a docstring, each on a line, without its marks of code."""
    return "\n".join(" ".join(block.split()).replace("`", "") for block in _blocks(text))


def paper(cls: type) -> str | None:
    """What is cited of a class, in its module or in its docstring, or in those of the classes that it is made from."""
    for parent in cls.__mro__:
        module = sys.modules.get(parent.__module__)
        for text in (getattr(module, "__doc__", None), parent.__doc__):
            cited = [block for block in _blocks(text or "") if _CITATION.match(block)]
            if cited and parent.__module__ != "builtins":
                return plain(cited[0])
    return None


def _blocks(text: str) -> list[str]:
    return [block for block in re.split(r"\n\s*\n", text.strip()) if block]


def example(kind: str, name: str, cls: Any, options: list[Option]) -> str:
    """A command that uses a name, and sets one of its options where there is one to be set."""
    if kind == "backbone":
        return f"peftcorr run --strategy frozen --backbone {name}"
    if kind == "launcher":
        return f"peftcorr run --strategy frozen lora --launcher {name} --workers 2"
    if kind == "dataset":
        root = f" --data-root {name}=PATH" if cls.needs_root else ""
        return f"peftcorr run --strategy frozen --dataset {name}{root}"
    number = next((option for option in options if type(option.default) in (int, float)), None)
    if kind == "strategy":
        value = f" --set strategy.{number.name}={number.default}" if number is not None else ""
        return f"peftcorr run --strategy {name}{value}"
    if number is None:
        return f"peftcorr run --strategy frozen --predictor {name}"
    section = yaml.safe_dump([{"name": name, number.name: number.default}], default_flow_style=True)
    return f'peftcorr run --strategy frozen --set "predictors={section.strip()}"'

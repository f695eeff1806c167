"""One pair's annotation file in SPair-71k's layout, checked field by field."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from peftcorr.errors import PeftCorrError

_MUST = {  # pydantic's kind of error -> what the value must be
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "model_type": "a JSON object",
    "greater_than_equal": "at least {ge:.0f}",
    "less_than_equal": "at most {le:.0f}",
}
_LARGEST = 1_000_000  # pixels; beyond it a number is a mistake, and squared distances stay exact below it


def single_name(name: str) -> str | None:
    """Say what is wrong with `name` as the name of one file or folder; None if nothing is."""
    if not name.strip():
        return "is empty"
    if name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        return f"is {name!r}; it must be a plain name, without a path"
    return None


def _plain(name: str) -> str:
    if problem := single_name(name):
        raise ValueError(problem)
    return name


def _identifier(value: object) -> object:
    # published ids are strings; folders made by others often have numbers, which mean the same
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _distinct(values: list[str]) -> list[str]:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"has {value!r} twice")
        seen.add(value)
    return values


def _has_area(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box
    if not (x2 > x1 and y2 > y1):
        raise ValueError(f"is {[x1, y1, x2, y2]}; it must be x1, y1, x2, y2 with x2 > x1 and y2 > y1")
    return box


Coordinate = Annotated[float, Field(allow_inf_nan=False, ge=-_LARGEST, le=_LARGEST)]
Side = Annotated[int, Field(ge=1, le=_LARGEST)]
Points = Annotated[list[tuple[Coordinate, Coordinate]], Field(min_length=1)]
Box = Annotated[tuple[Coordinate, Coordinate, Coordinate, Coordinate], AfterValidator(_has_area)]
Name = Annotated[str, AfterValidator(_plain)]
Size = Annotated[list[Side], Field(min_length=2, max_length=3)]  # W, H and the number of channels
KeypointId = Annotated[str, BeforeValidator(_identifier)]
Variation = Annotated[int, Field(ge=-128, le=127)] | None


class PairAnnotation(BaseModel):
    """The fields of a ``PairAnnotation`` file that matching needs; others are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    category: Name
    src_imname: Name
    trg_imname: Name
    src_imsize: Size
    trg_imsize: Size
    src_bndbox: Box
    trg_bndbox: Box
    src_kps: Points
    trg_kps: Points
    kps_ids: Annotated[list[KeypointId], Field(min_length=1), AfterValidator(_distinct)]
    viewpoint_variation: Variation = None
    scale_variation: Variation = None
    truncation: Variation = None
    occlusion: Variation = None
    mirror: Variation = None


def read_annotation(path: Path) -> PairAnnotation:
    """Read and check one pair.

    Raises:
        PeftCorrError: if the file cannot be read or a field is wrong, naming both.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PeftCorrError(f"Cannot read {path}: {error.strerror or error}.") from error
    try:
        pair = PairAnnotation.model_validate_json(content)
    except ValidationError as error:
        raise PeftCorrError(f"{path}: {_problem(error, content)}.") from error
    counts = {"src_kps": len(pair.src_kps), "trg_kps": len(pair.trg_kps), "kps_ids": len(pair.kps_ids)}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{field} has {count}" for field, count in counts.items())
        raise PeftCorrError(f"{path}: unequal numbers of keypoints: {told}; each keypoint needs one of each.")
    return pair


def _problem(error: ValidationError, content: bytes) -> str:
    """First problem in one clause: the field and what is wrong with it."""
    first = error.errors(include_url=False)[0]
    kind, found = first["type"], first["input"]
    if kind == "json_invalid":
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as wrong:
            return f"not UTF-8 text (byte {wrong.start}): save it as UTF-8"
        return f"not valid JSON ({first['ctx']['error']})"
    field = ".".join(str(part) for part in first["loc"]) or "the file"
    if kind == "missing":
        return f"the field {field} is missing"
    if kind == "value_error":
        return f"{field} {first['ctx']['error']}"
    if kind in ("too_short", "too_long"):
        least = kind == "too_short"
        bound = f"at least {first['ctx']['min_length']}" if least else f"at most {first['ctx']['max_length']}"
        return f"{field} has {first['ctx']['actual_length']} entries; it must have {bound}"
    if isinstance(found, float) and not math.isfinite(found):
        return f"{field} is {found}; it must be a finite number"
    shown = repr(found)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    must = _MUST.get(kind)
    wanted = must.format(**first.get("ctx", {})) if must else f"sound ({first['msg']})"
    return f"{field} is {shown}; it must be {wanted}"

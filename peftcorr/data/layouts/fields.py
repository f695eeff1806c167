"""The values that annotation files hold, checked, and a wrong one told in one clause: for every layout's reader."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from peftcorr.errors import PeftCorrError, shown
from peftcorr.files.reading import MARK, read_bytes
from peftcorr.files.signatures import HEAD, what_it_is

M = TypeVar("M", bound=BaseModel)

LARGEST = 1_000_000  # pixels; beyond it a number is a mistake, and squared distances stay exact below it
_LONGEST_NAME = 255  # bytes, as file systems have it
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # the last are no characters at all


def single_name(name: str) -> str | None:
    """Say what is wrong with `name` as the name of one file or folder; None if nothing is."""
    if not name.strip():
        return "is empty"
    if name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        return f"is {shown(name)}; it must be a plain name, without a path"
    if _CONTROL.search(name):
        return f"is {shown(name)}; it must not hold control characters"
    if len(name.encode()) > _LONGEST_NAME:
        return f"is {shown(name)}, which is too long for the name of a file"
    return None


def _plain(name: str) -> str:
    if problem := single_name(name):
        raise ValueError(problem)
    return name


def distinct(values: list[str]) -> list[str]:
    """Refuse a value that is there twice (for pydantic's ``AfterValidator``)."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"has {shown(value)} twice")
        seen.add(value)
    return values


def require_equal_counts(where: str, counts: Mapping[str, int]) -> None:
    """Refuse fields of which not all have as many keypoints.

    Raises:
        PeftCorrError: if they do not.
    """
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{field} has {count}" for field, count in counts.items())
        raise PeftCorrError(
            f"{where}: unequal numbers of keypoints: {told}; each keypoint needs one of each."
        )


Coordinate = Annotated[float, Field(allow_inf_nan=False, ge=-LARGEST, le=LARGEST)]  # pixels
Side = Annotated[int, Field(ge=1, le=LARGEST)]  # of an image, pixels
Name = Annotated[str, AfterValidator(_plain)]  # of one file or folder


def read_json(model: type[M], path: Path) -> M:
    """Read a JSON file and check it against a model.

    Raises:
        PeftCorrError: if the file cannot be read or a field is wrong, naming both.
    """
    content = read_bytes(path).removeprefix(MARK)
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise PeftCorrError(f"{path}: {problem(error, content)}.") from error


def problem(error: ValidationError, content: bytes = b"") -> str:
    """First problem in one clause: the field and what is wrong with it.

    Args:
        error: what pydantic found.
        content: the JSON text that was read, to tell a wrong encoding from wrong JSON.
    """
    first = error.errors(include_url=False)[0]
    kind, found = first["type"], first["input"]
    if kind == "json_invalid":
        if what := what_it_is(content[:HEAD]):
            return f"not valid JSON: {what}"
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as wrong:
            return f"not UTF-8 text (byte {wrong.start}): save it as UTF-8"
        return f"not valid JSON ({first['ctx']['error']})"
    field = ".".join(map(str, first["loc"])) or "the file"
    if kind == "missing":
        return f"the field {field} is missing"
    if kind == "value_error":
        return f"{field} {first['ctx']['error']}"
    must = re.sub(r"^\w+ should", "it must", first["msg"]).replace(" after validation", "")
    return f"{field} is {shown(found)}; {must}"

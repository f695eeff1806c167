"""The values that annotation files hold, checked, and a wrong one told in one clause: for every layout's reader."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from peftcorr.errors import PeftCorrError

M = TypeVar("M", bound=BaseModel)

LARGEST = 1_000_000  # pixels; beyond it a number is a mistake, and squared distances stay exact below it
_LONGEST_NAME = 255  # bytes, as file systems have it
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # the last are no characters at all


def shown(value: object) -> str:
    """A value as a message gives it: on one line, cut after 60 letters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # thousands of digits, or of levels
        return f"a huge {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def reason(error: Exception) -> str:
    """What a library's error says, on one line of at most 200 letters; the error's kind where it says nothing."""
    text = " ".join(str(error).split())
    printable = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return printable[:200] or type(error).__name__


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


def read_bytes(path: Path) -> bytes:
    """What a file holds.

    Raises:
        PeftCorrError: if it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise PeftCorrError(f"Cannot read {path}: {error.strerror or error}.") from error


def read_text(path: Path) -> str:
    """The text of a file, without the mark that some editors put before it.

    Raises:
        PeftCorrError: if it cannot be read or is not UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PeftCorrError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8.") from error


def read_json(model: type[M], path: Path) -> M:
    """Read a JSON file and check it against a model.

    Raises:
        PeftCorrError: if the file cannot be read or a field is wrong, naming both.
    """
    content = read_bytes(path)
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

"""PF-Pascal's published lists of pairs: one CSV file a split, in the layouts that are in use, checked row by row."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from peftcorr.data.layouts.csv_file import NUMBER, read_rows
from peftcorr.data.layouts.fields import Coordinate, Name, problem, require_equal_counts
from peftcorr.data.splits import WORDS
from peftcorr.errors import PeftCorrError

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
COORDINATES = ("XA", "YA", "XB", "YB")

_FOLDERS = ("image_pairs", ".", "PF-dataset-PASCAL")


def _file_name(value: object) -> object:
    # lists give "PF-dataset-PASCAL/JPEGImages/2008_000001.jpg" or the name alone
    return PurePosixPath(value).name if isinstance(value, str) else value


def _numbers(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(";")]
    # What is no number goes on as text, which pydantic then refuses with its place in the list.
    return [float(part) if NUMBER.fullmatch(part) else part for part in parts]


def _whole(value: object) -> object:
    return (
        int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value.strip(), re.ASCII) else value
    )


_Coordinates = Annotated[list[Coordinate], BeforeValidator(_numbers), Field(min_length=1)] | None


class ListedPair(BaseModel):
    """One row: two photographs of a class, and what only some lists have.

    x and y of the keypoints that both share, or whether they are to be mirrored in training.
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    source_image: Annotated[Name, BeforeValidator(_file_name)]
    target_image: Annotated[Name, BeforeValidator(_file_name)]
    number: Annotated[int, BeforeValidator(_whole), Field(ge=1, le=len(CLASSES), alias="class")]
    XA: _Coordinates = None
    YA: _Coordinates = None
    XB: _Coordinates = None
    YB: _Coordinates = None
    flip: str | None = None

    @property
    def category(self) -> str:
        """Name of the class; the lists number VOC's classes from 1 in alphabetical order."""
        return CLASSES[self.number - 1]


def find_list(root: Path, split: str) -> Path | None:
    """The list of a split: ``image_pairs/trn_pairs.csv``, or another name and place that it is published under."""
    endings = ("_pairs.csv", "_pairs_pf_pascal.csv")
    paths = (
        root / folder / (word + end) for folder, word, end in product(_FOLDERS, WORDS.get(split, ()), endings)
    )
    return next((path for path in paths if path.is_file()), None)


def read_list(path: Path) -> list[tuple[int, ListedPair]]:
    """Read a list: each row with the line that it is on, in the file's order; all have the same fields.

    Raises:
        PeftCorrError: if the file cannot be read or a row is wrong, naming the line and the column.
    """
    [(_, header), *rest] = read_rows(path) or [(1, [])]
    columns = tuple(name.strip() for name in header)
    _require_columns(path, columns)
    rows = [(line, _row(path, line, columns, row)) for line, row in rest]
    if not rows:
        raise PeftCorrError(f"{path} lists no pair.")
    return rows


def _require_columns(path: Path, columns: tuple[str, ...]) -> None:
    coordinates = COORDINATES if any(name in columns for name in COORDINATES) else ()
    for name in ("source_image", "target_image", "class", *coordinates):
        if columns.count(name) != 1:
            raise PeftCorrError(
                f"{path}, line 1: there {'is no column' if name not in columns else 'are two columns'} {name}."
            )


def _row(path: Path, line: int, columns: tuple[str, ...], values: list[str]) -> ListedPair:
    where = f"{path}, line {line}"
    if len(values) != len(columns):
        raise PeftCorrError(f"{where}: {len(values)} values under {len(columns)} columns.")
    try:
        pair = ListedPair.model_validate(dict(zip(columns, values, strict=True)))
    except ValidationError as error:
        raise PeftCorrError(f"{where}: {problem(error)}.") from error
    require_equal_counts(where, {name: len(xy) for name in COORDINATES if (xy := getattr(pair, name))})
    return pair

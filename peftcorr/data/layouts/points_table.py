"""A table of keypoints, one a row: columns image, keypoint, x, y, and perhaps category, visible, object and split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from peftcorr.data.layouts.coco_annotation import inner_path, label
from peftcorr.data.layouts.csv_file import NUMBER
from peftcorr.data.layouts.fields import LARGEST
from peftcorr.data.layouts.instance import Instance, Point, box_round
from peftcorr.data.layouts.split_lists import split_called
from peftcorr.errors import PeftCorrError, shown

T = TypeVar("T")
Key = tuple[str, str, str]  # image, category and object

DELIMITERS = ",;\t"
NEEDED = ("image", "keypoint", "x", "y")
OPTIONAL = ("category", "visible", "object", "split")
CATEGORY = "all"  # where no column says which
_YES = ("1", "2", "1.0", "2.0", "true", "t", "yes", "y")
_NO = ("0", "-1", "0.0", "-1.0", "false", "f", "no", "n")


@dataclass
class Table:
    """What one or several tables hold.

    Attributes:
        points: place of each keypoint that is there, by object and name; an object may have none.
        splits: of each image, where a column tells it.
        things: what an object is called in other images too, where that is known.
        lines: where each keypoint was read.
    """

    points: dict[Key, dict[str, Point]] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    things: dict[Key, str] = field(default_factory=dict)
    lines: dict[tuple[Key, str], str] = field(default_factory=dict)

    def add(self, where: str, key: Key, keypoint: str, place: Point | None) -> None:
        """Enter a keypoint; None for one that is not there.

        Raises:
            PeftCorrError: if the object has one of that name already.
        """
        if (earlier := self.lines.setdefault((key, keypoint), where)) != where:
            raise PeftCorrError(
                f"{where}: the keypoint {shown(keypoint)} of {shown(key[0])} was given before ({earlier}): tell two "
                "objects of one image apart in a column object."
            )
        points = self.points.setdefault(key, {})
        if place is not None:
            points[keypoint] = place

    def instances(self) -> list[Instance]:
        """The objects that have a keypoint, in the table's order."""
        return [
            _instance(key, points, self.things.get(key, "")) for key, points in self.points.items() if points
        ]


def _instance(key: Key, points: dict[str, Point], thing: str) -> Instance:
    image, category, _ = key
    box = box_round(points.values())
    area = (box[2] - box[0]) * (box[3] - box[1])
    return Instance(image, image, (), category, category, box, area, False, points, thing=thing)


def read_points(table: Table, path: Path, rows: list[tuple[int, list[str]]], comma: bool) -> None:
    """Add the rows of a table, of which the first names the columns.

    A keypoint without a place, or not `visible`, is not there.

    Args:
        table: what the keypoints are added to.
        path: the file.
        rows: of the file.
        comma: whether one may stand for the decimal point, as in tables with semicolons between values.

    Raises:
        PeftCorrError: naming the line and the column.
    """
    line, header = rows[0]
    columns = [name.strip().lower() for name in header]
    for name in (*NEEDED, *OPTIONAL):
        if (count := columns.count(name)) != 1 and (name in NEEDED or count):
            raise PeftCorrError(
                f"{path}, line {line}: there {'are two columns' if count else 'is no column'} {name}; a table has "
                f"{', '.join(NEEDED)} and may have {', '.join(OPTIONAL)}."
            )
    if len(rows) == 1:
        raise PeftCorrError(f"{path} lists no keypoint.")
    for line, row in rows[1:]:
        where = f"{path}, line {line}"
        if len(row) != len(columns):
            raise PeftCorrError(f"{where}: {len(row)} values under {len(columns)} columns.")
        _enter(table, where, dict(zip(columns, map(str.strip, row), strict=True)), comma)


def _enter(table: Table, where: str, row: dict[str, str], comma: bool) -> None:
    image = _checked(where, "image", row["image"], inner_path)
    category = row.get("category") or CATEGORY
    category = _checked(where, "category", category, label)
    thing = row.get("object") or ""
    key = (image, category, _checked(where, "object", thing, label) if thing else "")
    if thing:
        table.things[key] = thing
    if "split" in row:
        split = _checked(where, "split", row["split"], _split)
        if (other := table.splits.setdefault(image, split)) != split:
            raise PeftCorrError(f"{where}: split is {split}, but {shown(image)} is in {other} already.")
    x, y = (_checked(where, axis, row[axis], partial(number, comma=comma)) for axis in "xy")
    if (x is None) != (y is None):
        raise PeftCorrError(f"{where}: {'x' if x is None else 'y'} is empty; give both x and y, or neither.")
    visible = _checked(where, "visible", row.get("visible", ""), _visible)
    place = None if x is None or y is None or visible is False else (x, y)
    table.add(where, key, _checked(where, "keypoint", row["keypoint"], label), place)


def _checked(where: str, column: str, text: str, read: Callable[[str], T]) -> T:
    try:
        return read(text)
    except ValueError as error:
        raise PeftCorrError(f"{where}: {column} {error}.") from error


def number(text: str, comma: bool) -> float | None:
    """A coordinate; None for an empty cell or NaN.

    Args:
        text: the cell.
        comma: whether one may stand for the decimal point, as spreadsheets write it in half of the world. Where commas
            stand between the values, "1,234" may as well be a thousand.

    Raises:
        ValueError: if it is no number, or beyond any image.
    """
    text = text.strip()
    if not text:
        return None
    plain = text.replace(",", ".", 1) if comma else text
    value = float(plain) if NUMBER.fullmatch(plain) else LARGEST + 1.0
    if abs(value) > LARGEST:
        point = " with a point, since commas stand between the values" if "," in text and not comma else ""
        raise ValueError(f"is {shown(text)}; it must be a number of pixels{point}")
    return None if value != value else value


def _split(text: str) -> str:
    split = split_called(text)
    if split is None:
        raise ValueError(f"is {shown(text)}; it must be train, val or test")
    return split


def _visible(text: str) -> bool | None:
    word = text.lower()
    if word in _YES or word in _NO:
        return word in _YES
    if word in ("", "nan"):
        return None
    raise ValueError(f"is {shown(text)}; it must be 1 or 0")

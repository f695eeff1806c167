"""DeepLabCut's tables of labelled frames (Mathis et al., 2018): ``labeled-data/<video>/CollectedData_<scorer>.csv``.

Three rows name the columns: scorer, bodyparts and coords; projects with several animals have a row of individuals
before the body parts. A frame is named by its path in one cell, or by the path's three parts in three cells.
"""

from __future__ import annotations

from pathlib import Path

from peftcorr.data.layouts.coco_annotation import inner_path, label
from peftcorr.data.layouts.points_table import CATEGORY, Table, number
from peftcorr.errors import PeftCorrError, shown

Rows = list[tuple[int, list[str]]]
Columns = dict[tuple[str, str], dict[str, int]]  # column of x and of y by individual and body part

_HEADERS = (("scorer", "bodyparts", "coords"), ("scorer", "individuals", "bodyparts", "coords"))
_ONE, _THREE = 1, 3  # cells that name a frame


def is_collected(rows: Rows) -> bool:
    """Whether a table is one of DeepLabCut's."""
    return bool(rows) and rows[0][1][0].strip() == "scorer"


def read_collected(table: Table, path: Path, folder: str, rows: Rows, comma: bool) -> None:
    """Add the labelled frames of one video; the images lie beside the file.

    Args:
        table: what the frames are added to.
        path: the file.
        folder: its folder, as a POSIX path below the image folder.
        rows: of the file.
        comma: whether one may stand for the decimal point.

    Raises:
        PeftCorrError: naming the line and what is wrong with it.
    """
    header, start, columns = _columns(path, rows)
    video = path.resolve().parent.name
    for line, row in rows[header:]:
        where = f"{path}, line {line}"
        if len(row) != len(rows[0][1]):
            raise PeftCorrError(f"{where}: {len(row)} values under {len(rows[0][1])} columns.")
        try:
            frame = row[start - 1].strip().replace("\\", "/").rpartition("/")[2]
            image = inner_path(f"{folder}/{frame}")
        except ValueError as error:
            raise PeftCorrError(f"{where}: the frame {error}.") from error
        for (individual, part), at in columns.items():
            x, y = (_number(where, part, axis, row[at[axis]], comma) for axis in "xy")
            if (x is None) != (y is None):
                raise PeftCorrError(f"{where}: {shown(part)} has {'y' if x is None else 'x'} alone.")
            key = (image, CATEGORY, individual)
            table.things[key] = video
            table.add(where, key, part, None if x is None or y is None else (x, y))


def _number(where: str, part: str, axis: str, text: str, comma: bool) -> float | None:
    try:
        return number(text, comma)
    except ValueError as error:
        raise PeftCorrError(f"{where}: {axis} of {shown(part)} {error}.") from error


def _columns(path: Path, rows: Rows) -> tuple[int, int, Columns]:
    """Number of header rows, of cells that name a frame, and the columns."""
    found = tuple(row[0].strip() for _, row in rows[:4])
    names = next((names for names in _HEADERS if found[: len(names)] == names), None)
    if names is None:
        raise PeftCorrError(
            f"{path}: its first rows are {shown(list(found))}; DeepLabCut's tables begin with scorer, (individuals,) "
            "bodyparts and coords."
        )
    width = len(rows[0][1])
    for line, row in rows[: len(names)]:
        if len(row) != width:
            raise PeftCorrError(f"{path}, line {line}: {len(row)} values under {width} columns.")
    heads = {name: [cell.strip() for cell in row] for name, (_, row) in zip(names, rows, strict=False)}
    start = _ONE if any(heads["coords"][1:2]) else _THREE
    if odd := next((at for at in range(1, start) if at < width and heads["coords"][at]), None):
        raise PeftCorrError(
            f"{path}: the row coords has {shown(heads['coords'][odd])} in cell {odd + 1}, before that of the first x."
        )
    columns: Columns = {}
    for at in range(start, width):
        axis, part = heads["coords"][at], heads["bodyparts"][at]
        if axis == "likelihood":  # in tables of predictions
            continue
        if axis not in ("x", "y"):
            raise PeftCorrError(f"{path}: the row coords has {shown(axis)}; it must have x and y.")
        individual = heads["individuals"][at] if "individuals" in heads else ""
        try:
            place = columns.setdefault((label(individual) if individual else "", label(part)), {})
        except ValueError as error:
            raise PeftCorrError(f"{path}: a name in column {at + 1} {error}.") from error
        if axis in place:
            raise PeftCorrError(f"{path}: {shown(part)} has two columns {axis}.")
        place[axis] = at
    if not columns:
        raise PeftCorrError(f"{path}: the row coords has no x.")
    if lacking := next((part for (_, part), place in columns.items() if len(place) < 2), None):
        raise PeftCorrError(f"{path}: {shown(lacking)} has no column x, or none y.")
    return len(names), start, columns

"""The rows of a CSV file, with the line that each is on, and what is a number in one."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from peftcorr.errors import PeftCorrError
from peftcorr.files.reading import read_bytes, read_text
from peftcorr.files.signatures import HEAD, what_it_is

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?|[+-]?(nan|inf)", re.ASCII | re.IGNORECASE)


def read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Every row of values with commas between, as `read_table`."""
    return read_table(path, ",")[1]


def read_table(path: Path, delimiters: str) -> tuple[str, list[tuple[int, list[str]]]]:
    """What stands between the values, and every row in which something stands, with the number of its last line.

    Args:
        path: the file.
        delimiters: what may stand between two values; of several that which the first line has most of.

    Raises:
        PeftCorrError: if it cannot be read, or a quote in it does not end, naming the line.
    """
    if what := what_it_is(read_bytes(path)[:HEAD]):
        raise PeftCorrError(f"{path} is no table: {what}.")
    text = read_text(path)
    first = text[:10_000].lstrip().partition("\n")[0]
    delimiter = max(delimiters, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    try:
        return delimiter, [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise PeftCorrError(f"{path}, line {reader.line_num}: no valid CSV ({error}).") from error

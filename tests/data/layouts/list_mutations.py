"""Damage to lists, drawn from a seed as in `mutations`: of one name a line, and CSV."""

from __future__ import annotations

import csv
import io
import re
from random import Random

from tests.data.layouts.mutations import ODD_TEXTS, Damaged, damaged_bytes, encoded, odd_value

_CELLS = [
    "nan", "inf", "-1", "0", "21", "1e999", "1e-999", "1e6", "1000001", "0x10", "1_000", "\u0663", "1,5", "1;", ";",
    ";;", "1;nan", "1;2;3;4;5;6;7", " 8 ", "8.0", "+8", '"', '"open', 'a"b', '"a""b"', '"a\nb"', "9" * 120_000 + "x",
    "9" * 140_000, "'8'", "None", "1e99999", "-.5e1", "e",
]  # fmt: skip


def damaged_lines(rng: Random, lines: list[str]) -> Damaged:
    """A list of one name a line."""
    if rng.random() < 0.2:
        return damaged_bytes(rng, "".join(f"{line}\n" for line in lines).encode())
    made, done = list(lines), []
    for _ in range(rng.choice([1, 1, 2])):
        at = rng.randrange(len(made)) if made else 0
        line = made[at] if made else ""
        ways = {
            "removed": made[:at] + made[at + 1 :],
            "repeated": [*made, line],
            "another line": [*made[:at], str(odd_value(rng)), *made[at + 1 :]],
            "a new line": [*made[:at], rng.choice(ODD_TEXTS + _CELLS), *made[at:]],
            "blanks round it": [*made[:at], f" {line}\t", "", *made[at + 1 :]],
            "a letter changed": [*made[:at], line[:-1] + rng.choice("0x\xe9\x85\0 "), *made[at + 1 :]],
            "in another order": made[::-1],
            "a comment": ["# pairs", *made],
        }
        what, made = rng.choice(list(ways.items()))
        done.append(f"line {at + 1}: {what}")
    return encoded(rng, "; ".join(done), rng.choice(["\n", "\n", "\r\n", "\r"]).join(made))


def damaged_csv(rng: Random, text: str) -> Damaged:
    """A table with changed, lost or additional cells, columns and rows, or in another dialect."""
    if rng.random() < 0.2:
        return damaged_bytes(rng, text.encode())
    rows, done = list(csv.reader(io.StringIO(text))), []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        row, column = rng.randrange(len(rows)), rng.randrange(len(rows[0]))
        cells = rows[row]
        old = cells[column] if column < len(cells) else ""
        what = rng.choice(
            ["cell", "part", "lost cell", "more", "row", "column", "header", "scaled", "swapped"]
        )
        done.append(f"row {row}, column {column}: {what}")
        if what == "cell":
            cells[column : column + 1] = [rng.choice([*_CELLS, *ODD_TEXTS])]
        elif what == "part":
            parts = old.split(";")
            parts[rng.randrange(len(parts))] = rng.choice([*_CELLS, *ODD_TEXTS[:22]])
            cells[column : column + 1] = [";".join(parts)]
        elif what == "lost cell":
            del cells[column : column + 1]
        elif what == "more":
            cells.append(rng.choice(_CELLS))
        elif what == "row":
            rows[row : row + 1] = rng.choice([[], [cells, list(cells)], [[]]]) if row else [cells, []]
        elif what == "column":
            for each in rows:
                del each[column : column + 1]
        elif what == "header":
            name = rows[0][column] if column < len(rows[0]) else ""
            rows[0][column : column + 1] = [
                rng.choice([name.lower(), f" {name} ", "class", "flip", "XA", "\u2028"])
            ]
        elif what == "scaled":
            number = re.compile(r"(?<![\w.])\d+\.?\d*")
            factor = rng.choice([-1.0, 0.0, 0.5, 1.2, 1e4, 1e300])
            found = number.findall(old)
            scaled = [repr(float(each) * factor) for each in found]
            cells[column : column + 1] = [";".join(scaled) if found else old]
        else:
            other = rng.randrange(len(rows))
            rows[row], rows[other] = rows[other], rows[row]
        if not rows or not rows[0]:
            break
    delimiter = rng.choice([",", ",", ",", ",", ",", ",", ";", "\t"])
    lines = [delimiter.join(row) for row in rows]  # unquoted: cells may hold quotes
    return encoded(rng, "; ".join(done), rng.choice(["\n", "\n", "\n", "\r\n", "\r"]).join(lines) + "\n")

"""Damage to annotation files, drawn from a seed: to the values that they hold, to their text and to their bytes.

Every function takes what a sound file holds and gives what was done, in a few words, and the damaged file's bytes.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import pickle
import re
import warnings
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from scipy.io import savemat
from scipy.sparse import csc_matrix

Damaged = tuple[str, bytes]

_TWICE, _RAW = "@twice@", "@raw@"  # stand for a key and for a value that json.dumps does not write
_NUMBERS: list[Any] = [
    0, -1, 1, 2, 3, 1.5, -0.5, 7.25, 128, 1_000_000, 1_000_001, -1_000_001, 2**31, 2**63, 2**64, 10**400, 1e-30, 5e-324,
    1e16, 1e308, -1e308, float("nan"), float("inf"), float("-inf"),
]  # fmt: skip
_TEXTS = [
    "", " ", ".", "..", "x", "/etc/passwd", "a/b", "a\\b", "../a.jpg", "a\0b", "a\nb", "a\r\nb", "a\u2028b", "\x85",
    "a\tb", "\x1b[31mred", "\x7f", "caf\xe9.jpg", "\u202egpj", "\ud800", "nan", "1e5", "7", "x" * 300,
    "y/" * 3000, "z" * 100_000,
]  # fmt: skip
_JSON_TEXTS = [
    "1e400", "-1e400", "9" * 400, "9" * 5000, "-0", "01", "1.", ".5", "0x10", "1_000", "Infinity", "-Infinity", "NaN",
    "nan", "None", "'x'", "", '"\\ud800"', '"\\u0000"', '"\\x"', '"open', "[1, 2", "[1,]", "{", '{"a": 1, "a": 2}',
    *("[" * depth + "]" * depth for depth in (30, 1000, 100_000)), '{"a":' * 1000 + "1" + "}" * 1000,
]  # fmt: skip
_CELLS = [
    "nan", "inf", "-1", "0", "21", "1e999", "1e-999", "1e6", "1000001", "0x10", "1_000", "\u0663", "1,5", "1;", ";",
    ";;", "1;nan", "1;2;3;4;5;6;7", " 8 ", "8.0", "+8", '"', '"open', 'a"b', '"a""b"', '"a\nb"', "9" * 120_000 + "x",
    "9" * 140_000, "'8'", "None", "1e99999", "-.5e1", "e",
]  # fmt: skip


def _odd(rng: Random) -> Any:
    """A value that hardly belongs where it is put."""
    return rng.choice(
        [
            rng.choice(_NUMBERS),
            rng.choice(_TEXTS),
            rng.choice([None, True, False, [], {}, [[]], [1, "a"], {"a": 1}]),
        ]
    )


# Bytes and text of any file


def damaged_bytes(rng: Random, raw: bytes) -> Damaged:
    """Flipped, lost, repeated or foreign bytes."""
    near_start = rng.random() < 0.5  # where binary files have their lengths
    start = rng.randrange(max(1, min(len(raw), 300) if near_start else len(raw)))
    end = min(len(raw), start + rng.choice([1, 2, 4, 8, 50]))
    head, middle, tail = raw[:start], raw[start:end], raw[end:]
    made = {
        "a bit is flipped": head + bytes(b ^ 1 << rng.randrange(8) for b in middle[:1]) + raw[start + 1 :],
        "bytes are drawn anew": head + rng.randbytes(len(middle)) + tail,
        "bytes are 0xff": head + b"\xff" * len(middle) + tail,
        "bytes are zero": head + b"\0" * len(middle) + tail,
        "a number of four bytes is huge": head + b"\xff\xff\xff\x7f" + raw[start + 4 :],
        "bytes are lost": head + tail,
        "bytes stand twice": head + middle * 2 + tail,
        "bytes are put in": head + rng.randbytes(7) + middle + tail,
        "the file is cut short": head,
        "the start is lost": raw[start:],
        "bytes follow the end": raw + rng.choice([b"\0", b"x", raw, rng.randbytes(50)]),
        "the file is empty": b"",
        "the file is noise": rng.randbytes(200),
        "the file is something else": rng.choice(
            [b"null", b"\n \n", b"<html></html>", b"PK\3\4", b"[]", b"{}"]
        ),
    }
    return rng.choice(list(made.items()))


def _encoded(rng: Random, what: str, text: str) -> Damaged:
    """The text as UTF-8, now and then in another encoding."""
    encoding = rng.choice(["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "cp1252", "cp037", "utf-7"])
    if rng.random() < 0.9:
        return what, text.encode("utf-8", "surrogatepass")
    accented = text if rng.random() < 0.5 else text.replace("a", "\xe9", 1)
    return f"{what}; saved as {encoding}", accented.encode(encoding, "replace")


# JSON


def damaged_json(rng: Random, content: Any) -> Damaged:
    """A tree of values with one to three of them changed, removed, repeated, renamed or of another type."""
    if rng.random() < 0.2:
        return damaged_bytes(rng, json.dumps(content).encode())
    tree, done, raw, twice = [copy.deepcopy(content)], [], "", ""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        place, key, where = _some_place(rng, tree)
        what = rng.choice(list(_TREE_CHANGES))
        if what == "text that is not JSON" or what == "a key stands twice":
            if raw or (what == "a key stands twice" and not isinstance(place, dict)):
                continue
            raw = rng.choice(_JSON_TEXTS)
        if what == "a key stands twice":
            twice = key
            if rng.random() < 0.5:  # as the first of the two
                rest = {**place}
                place.clear()
                place.update({_TWICE: _RAW, **rest})
            else:
                place[_TWICE] = _RAW
        else:
            _TREE_CHANGES[what](rng, place, key)
        done.append(f"{where}: {what}")
    text = json.dumps(tree[0]) if tree else ""
    text = text.replace(json.dumps(_RAW), raw).replace(json.dumps(_TWICE), json.dumps(twice))
    return _encoded(rng, "; ".join(done), text)


def _some_place(rng: Random, tree: list[Any]) -> tuple[Any, Any, str]:
    """A container of the tree, a key or number in it, and the names on the way there; any depth is as likely."""
    place: Any = tree
    key: Any = 0
    names: list[str] = []
    while tree:
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.15:
            break
        place = inner
        key = rng.choice(list(inner)) if isinstance(inner, dict) else rng.randrange(len(inner))
        names.append(str(key))
    return place, key, ".".join(names) or "all"


def _replace(rng: Random, place: Any, key: Any) -> None:
    place[key] = _odd(rng)


def _raw(rng: Random, place: Any, key: Any) -> None:
    place[key] = _RAW


def _remove(rng: Random, place: Any, key: Any) -> None:
    if isinstance(place, dict) or len(place) > 1:
        del place[key]
    else:
        place[key] = None


def _retype(rng: Random, place: Any, key: Any) -> None:
    value = place[key]
    as_text = json.dumps(value)[:500]
    place[key] = rng.choice([[value], {"0": value}, as_text, [value, value], bool(value), None])


def _scale(rng: Random, place: Any, key: Any) -> None:
    factor, shift = rng.choice(
        [(-1, 0), (0, 0), (1e-17, 0), (1e9, 0), (1.5, 0), (1, 1e6), (1, 0.25), (1, -50)]
    )

    def scaled(value: Any) -> Any:
        if isinstance(value, list):
            return [scaled(part) for part in value]
        if isinstance(value, dict):
            return {name: scaled(part) for name, part in value.items()}
        sound = isinstance(value, int | float) and not isinstance(value, bool)
        return value * factor + shift if sound and abs(value) < 1e9 else value

    place[key] = scaled(place[key])


def _length(rng: Random, place: Any, key: Any) -> None:
    value = place[key]
    if isinstance(value, list):
        place[key] = rng.choice(
            [value[:-1], value[1:], value * 2, value + value[-1:], value * 300, [], value[::-1]]
        )
    elif isinstance(value, str):
        place[key] = rng.choice(
            [value * 2, value[:-1], value[::-1], value + " ", value.upper(), "\ufeff" + value]
        )
    elif isinstance(value, dict) and value:
        name = rng.choice(list(value))
        place[key] = {(rng.choice(_TEXTS) if old == name else old): part for old, part in value.items()}
    else:
        place[key] = _odd(rng)


def _copy_of_another(rng: Random, place: Any, key: Any) -> None:
    other = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
    place[key] = copy.deepcopy(place[other])


_TREE_CHANGES: dict[str, Callable[[Random, Any, Any], None]] = {
    "another value": _replace,
    "text that is not JSON": _raw,
    "a key stands twice": _raw,
    "removed": _remove,
    "another type": _retype,
    "other numbers": _scale,
    "another length or name": _length,
    "a copy of another": _copy_of_another,
}


# Lists: one name a line, and CSV


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
            "another line": [*made[:at], str(_odd(rng)), *made[at + 1 :]],
            "a new line": [*made[:at], rng.choice(_TEXTS + _CELLS), *made[at:]],
            "blanks round it": [*made[:at], f" {line}\t", "", *made[at + 1 :]],
            "a letter changed": [*made[:at], line[:-1] + rng.choice("0x\xe9\x85\0 "), *made[at + 1 :]],
            "in another order": made[::-1],
            "a comment": ["# pairs", *made],
        }
        what, made = rng.choice(list(ways.items()))
        done.append(f"line {at + 1}: {what}")
    return _encoded(rng, "; ".join(done), rng.choice(["\n", "\n", "\r\n", "\r"]).join(made))


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
            cells[column : column + 1] = [rng.choice([*_CELLS, *_TEXTS])]
        elif what == "part":
            parts = old.split(";")
            parts[rng.randrange(len(parts))] = rng.choice([*_CELLS, *_TEXTS[:22]])
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
    return _encoded(rng, "; ".join(done), rng.choice(["\n", "\n", "\n", "\r\n", "\r"]).join(lines) + "\n")


# MATLAB files and pickles: arrays by name


def _damaged_array(rng: Random, array: Any) -> tuple[str, Any]:
    """An array of another shape, type or content; `array` may be something else by now."""
    array = (
        np.asarray(array) if isinstance(array, np.ndarray) and array.size else np.arange(6.0).reshape(2, 3)
    )
    entry = tuple(rng.randrange(length) for length in array.shape)
    other = array.copy()
    if array.dtype.kind == "f":
        other[entry] = rng.choice([number for number in _NUMBERS if number != 10**400])
    else:
        other[entry] = not other[entry]
    cut = rng.randrange(array.ndim)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        made: dict[str, Any] = {
            "one number is another": other,
            "one number is not in place": np.where(np.arange(array.size).reshape(array.shape) == 1, 7, array),
            "all are one number": np.full(array.shape, rng.choice([0, 1, 0.5, 1e5, 1e7])).astype(array.dtype),
            "all are NaN": np.full(array.shape, np.nan),
            "scaled": array * rng.choice([-1.0, 1e-3, 0.5, 1e9]),
            "other type": array.astype(rng.choice(["f2", "f4", "i1", "u1", "i8", "u8", "c16", "?", ">f8"])),
            "turned": array.T,
            "flat": array.reshape(-1),
            "one more dimension": array[None],
            "one row lost": np.delete(array, entry[cut], axis=cut),
            "one row twice": np.repeat(array, 2, axis=cut),
            "no row": np.delete(array, slice(None), axis=cut),
            "empty": np.zeros(rng.choice([(0,), (0, 0), (2, 0), (0, 2)])),
            "one number": array[entry],
            "text": rng.choice(_TEXTS[:20]),
            "a list": array.tolist(),
            "objects": np.array([1, "a", None], dtype=object),
            "named parts": {"x": array, "y": "a"},
        }
    return rng.choice(list(made.items()))


def damaged_mat(rng: Random, variables: dict[str, np.ndarray]) -> Damaged:
    """A MATLAB file whose variables have other names, shapes, types or numbers."""
    content, done = dict(variables), []
    compressed = rng.random() < 0.3
    if rng.random() < 0.3:
        what, raw = damaged_bytes(rng, _mat(content, compressed))
        return f"{what}{' of a compressed file' if compressed else ''}", raw
    for _ in range(rng.choice([1, 1, 2])):
        name = rng.choice(list(content))
        what = rng.choice(
            ["array", "array", "array", "array", "removed", "renamed", "sparse", "nested", "more"]
        )
        if what == "array":
            what, content[name] = _damaged_array(rng, content[name])
        elif what == "removed":
            del content[name]
        elif what == "renamed":
            content[rng.choice(["x", name.upper(), f"{name}1", "d" * 31])] = content.pop(name)
        elif what == "sparse":
            content[name] = csc_matrix(np.eye(2, 10))
        elif what == "nested":
            content[name] = _nested(rng.choice([1, 30]))
        else:
            content["more"] = rng.choice([1, "a", np.zeros(3)])
        done.append(f"{name}: {what}")
        content = content or {"x": np.zeros(1)}
    try:
        return "; ".join(done), _mat(content, compressed)
    except (TypeError, ValueError, UnicodeError, OverflowError):  # what no MATLAB file can hold
        return damaged_bytes(rng, _mat(variables, compressed))


def _mat(variables: dict[str, Any], compressed: bool) -> bytes:
    stream = io.BytesIO()
    savemat(stream, variables, do_compression=compressed)
    return stream.getvalue()


def _nested(depth: int) -> np.ndarray:
    cell = np.empty(1, dtype=object)
    cell[0] = _nested(depth - 1) if depth else np.arange(3.0)
    return cell


def damaged_pickle(rng: Random, videos: dict[Any, Any]) -> Damaged:
    """A pickle of videos by name, each a dict of arrays, with other names, fields, arrays or things in it."""
    protocol = rng.randrange(6)
    if rng.random() < 0.4:
        what, raw = damaged_bytes(rng, pickle.dumps(videos, protocol))
        return f"{what}, protocol {protocol}", raw
    content: Any = copy.deepcopy(videos)
    name = rng.choice(list(content))
    video = content[name]
    field = rng.choice(list(video))
    what = rng.choice(
        ["array", "array", "array", "field", "lost", "renamed", "video", "name", "all", "more", "hidden"]
    )
    if what == "array":
        what, video[field] = _damaged_array(rng, video[field])
    elif what == "field":
        video[field] = rng.choice([_odd(rng), {1, 2}, 1j, Random(0), np.float64(3), slice(1), b"a"])
    elif what == "lost":
        del video[field]
    elif what == "renamed":
        video[rng.choice(["x", field.upper(), 3])] = video.pop(field)
    elif what == "video":
        content[name] = rng.choice([_odd(rng), [video], list(video.values()), {}])
    elif what == "name":
        key = rng.choice([*_TEXTS, 0, 1.5, None, (1, "a"), b"a", 10**5000, ("x" * 500,), "tracks.npz"])
        content[key] = content.pop(name)
    elif what == "all":
        content = rng.choice([_odd(rng), list(content.values()), [content], {}, video])
    elif what == "more":
        content[rng.choice(["third", *_TEXTS])] = copy.deepcopy(video)
    else:  # what hidden points hold has no meaning
        video["points"][video["occluded"]] = rng.choice([np.nan, np.inf, 1e308, -5.0])
    try:
        raw = pickle.dumps(content, protocol)
    except ValueError:  # the text of old protocols has no number of 5000 digits
        protocol = 4
        raw = pickle.dumps(content, protocol)
    return f"{name}.{field}: {what}, protocol {protocol}", raw

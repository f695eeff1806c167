"""Damage to annotation files, drawn from a seed: to the values that they hold, to their text and to their bytes.

Every function takes what a sound file holds and gives what was done, in a few words, and the damaged file's bytes.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

Damaged = tuple[str, bytes]

_TWICE, _RAW = "@twice@", "@raw@"  # stand for a key and for a value that json.dumps does not write
ODD_NUMBERS: list[Any] = [
    0, -1, 1, 2, 3, 1.5, -0.5, 7.25, 128, 1_000_000, 1_000_001, -1_000_001, 2**31, 2**63, 2**64, 10**400, 1e-30, 5e-324,
    1e16, 1e308, -1e308, float("nan"), float("inf"), float("-inf"),
]  # fmt: skip
ODD_TEXTS = [
    "", " ", ".", "..", "x", "/etc/passwd", "a/b", "a\\b", "../a.jpg", "a\0b", "a\nb", "a\r\nb", "a\u2028b", "\x85",
    "a\tb", "\x1b[31mred", "\x7f", "caf\xe9.jpg", "\u202egpj", "\ud800", "nan", "1e5", "7", "x" * 300,
    "y/" * 3000, "z" * 100_000,
]  # fmt: skip
_JSON_TEXTS = [
    "1e400", "-1e400", "9" * 400, "9" * 5000, "-0", "01", "1.", ".5", "0x10", "1_000", "Infinity", "-Infinity", "NaN",
    "nan", "None", "'x'", "", '"\\ud800"', '"\\u0000"', '"\\x"', '"open', "[1, 2", "[1,]", "{", '{"a": 1, "a": 2}',
    *("[" * depth + "]" * depth for depth in (30, 1000, 100_000)), '{"a":' * 1000 + "1" + "}" * 1000,
]  # fmt: skip


def odd_value(rng: Random) -> Any:
    """A value that hardly belongs where it is put."""
    return rng.choice(
        [
            rng.choice(ODD_NUMBERS),
            rng.choice(ODD_TEXTS),
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


def encoded(rng: Random, what: str, text: str) -> Damaged:
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
    return encoded(rng, "; ".join(done), text)


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
    place[key] = odd_value(rng)


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
        place[key] = {(rng.choice(ODD_TEXTS) if old == name else old): part for old, part in value.items()}
    else:
        place[key] = odd_value(rng)


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

"""Damage to files of arrays by name, drawn from a seed as in `mutations`: MATLAB files and pickles."""

from __future__ import annotations

import copy
import io
import pickle
import struct
import warnings
from random import Random
from typing import Any

import numpy as np
from scipy.io import savemat
from scipy.sparse import csc_matrix

from tests.data.layouts.mutations import ODD_NUMBERS, ODD_TEXTS, Damaged, damaged_bytes, odd_value


def _damaged_array(rng: Random, array: Any) -> tuple[str, Any]:
    """An array of another shape, type or content; `array` may be something else by now."""
    sound = isinstance(array, np.ndarray) and array.size and array.dtype.kind in "buif" and array.ndim
    array = np.asarray(array) if sound else np.arange(6.0).reshape(2, 3)
    entry = tuple(rng.randrange(length) for length in array.shape)
    other = array.copy()
    if array.dtype.kind == "f":
        other[entry] = rng.choice([number for number in ODD_NUMBERS if number != 10**400])
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
            "text": rng.choice(ODD_TEXTS[:20]),
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
        video[field] = rng.choice([odd_value(rng), {1, 2}, 1j, Random(0), np.float64(3), slice(1), b"a"])
    elif what == "lost":
        del video[field]
    elif what == "renamed":
        video[rng.choice(["x", field.upper(), 3])] = video.pop(field)
    elif what == "video":
        content[name] = rng.choice([odd_value(rng), [video], list(video.values()), {}])
    elif what == "name":
        key = rng.choice([*ODD_TEXTS, 0, 1.5, None, (1, "a"), b"a", 10**5000, ("x" * 500,), "tracks.npz"])
        content[key] = content.pop(name)
    elif what == "all":
        content = rng.choice([odd_value(rng), list(content.values()), [content], {}, video])
    elif what == "more":
        content[rng.choice(["third", *ODD_TEXTS])] = copy.deepcopy(video)
    else:  # what hidden points hold has no meaning
        video["points"][video["occluded"]] = rng.choice([np.nan, np.inf, 1e308, -5.0])
    try:
        raw = pickle.dumps(content, protocol)
    except ValueError:  # the text of old protocols has no number of 5000 digits
        protocol = 4
        raw = pickle.dumps(content, protocol)
    return f"{name}.{field}: {what}, protocol {protocol}", raw


def deep_cells(variable: str, depth: int) -> bytes:
    """A MATLAB file whose `variable` is a cell in a cell in a cell, `depth` of them; savemat's recursion cannot."""

    def header(kind: int, name: bytes) -> bytes:
        flags = struct.pack("<4I", 6, 8, kind, 0) + struct.pack("<4I", 5, 8, 1, 1)
        return flags + struct.pack("<2I", 1, len(name)) + name.ljust(-(-len(name) // 8) * 8, b"\0")

    parts = [header(6, b"") + struct.pack("<2Id", 9, 8, 1.0)]
    size = len(parts[0])
    for level in range(depth, 0, -1):
        cell = header(1, variable.encode() if level == 1 else b"")
        parts += [struct.pack("<2I", 14, size), cell]
        size += 8 + len(cell)
    start = b"MATLAB 5.0 MAT-file".ljust(116) + bytes(8) + b"\0\1IM"
    return start + struct.pack("<2I", 14, size) + b"".join(reversed(parts))

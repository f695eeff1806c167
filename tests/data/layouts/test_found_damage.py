"""Damage that once hung, died, raised another error or blamed the cache, each as the smallest file that did."""

from __future__ import annotations

import json
import math
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peftcorr.errors import PeftCorrError
from tests.data.layouts.array_mutations import deep_cells
from tests.data.layouts.mutation_cases import (
    Case,
    ap10k,
    coco,
    pf_pascal_listed,
    pf_willow,
    spair_annotation,
    tapvid,
)
from tests.data.layouts.mutation_outcomes import deadline, outcome
from tests.published_layouts import coco_content
from tests.small_videos import make_video


def _changed(content: Any, *place: Any) -> bytes:
    """JSON of the content with the value at a place, the last of the arguments, changed."""
    *way, key, value = place
    inner = content
    for name in way:
        inner = inner[name]
    inner[key] = value
    return json.dumps(content).encode()


def _replaced(raw: bytes, old: bytes, new: bytes) -> bytes:
    assert raw.count(old) == 1
    return raw.replace(old, new)


def _video(name: Any = "one", hidden: float = 0.5) -> bytes:
    video = make_video(0, 4, 5, 24, 8)
    video["points"][video["occluded"]] = hidden
    return pickle.dumps({name: video})


FOUND: list[tuple[Any, Callable[[Case], bytes], str]] = [
    (
        spair_annotation,
        lambda case: _changed(json.loads(case.path.read_bytes()), "category", "x" * 300),
        r"\.json: category is 'x+…, which is too long for the name of a file",
    ),
    (
        spair_annotation,
        lambda case: _changed(json.loads(case.path.read_bytes()), "src_imname", "a\nb.jpg"),
        r"src_imname is 'a\\nb\.jpg'; it must not hold control characters",
    ),
    (
        coco,
        lambda case: _changed(coco_content(), "images", 0, "file_name", "y/" * 3000 + "y"),
        r"images\.0\.file_name is 'y/.*too long for a path",
    ),
    (
        coco,
        lambda case: _changed(coco_content(), "annotations", 1, "bbox", [5, 6, 1e-17, 1e-17]),
        r"annotations\.1\.bbox is .*; the box must have a size",
    ),
    (
        ap10k,
        lambda case: _changed(
            json.loads(case.path.read_bytes()), "images", 0, "file_name", f"{122:012d}.jpg"
        ),
        r"have the same file_name, '000000000122\.jpg'",
    ),
    (
        pf_pascal_listed,
        lambda case: case.path.read_bytes().replace(b"30.5;120", b"9" * 120_000 + b"x"),
        r"line 2: XA\.0 is '9+…; it must be a valid number",
    ),
    (
        pf_willow,
        lambda case: deep_cells("pts_coord", 100_000),
        "pts_coord holds cell values; it must hold numbers",
    ),
    (
        pf_willow,  # scipy's reader dies of it
        lambda case: _replaced(
            case.path.read_bytes(), struct.pack("<II", 9, 160), struct.pack("<II", 0, 160)
        ),
        "no readable MATLAB file .pts_coord is of an unknown type",
    ),
    (tapvid, lambda case: _video("a\ud800"), r"the name of a video is 'a\\ud800'; it must not hold control"),
    (tapvid, lambda case: _video("x" * 300), "the name of a video is 'x+.*too long for the name of a file"),
    (tapvid, lambda case: _video(10**5000), "no pickle of numpy arrays alone .a dict with a key of type int"),
    (tapvid, lambda case: _video("tracks.npz"), "which the file of the tracks has"),
    (
        tapvid,
        lambda case: b"cnumpy.\0\0ype\nx\n.",
        r"no pickle of numpy arrays alone .it names numpy\.\\x00\\x00ype\.x.: get it again",
    ),
    (tapvid, lambda case: _video(hidden=math.nan), ""),
]


@pytest.mark.parametrize(("make", "damage", "expected"), FOUND)
def test_damage_that_once_got_through(
    make: Any, damage: Callable[[Case], bytes], expected: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    case = make(tmp_path, request)
    case.path.write_bytes(damage(case))
    if not expected:
        assert outcome(case, tmp_path / "cache") == ("table", "")
        return
    with deadline(), pytest.raises(PeftCorrError, match=expected):
        case.load(tmp_path / "cache")

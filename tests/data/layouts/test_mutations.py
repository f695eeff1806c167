"""Damaged annotation through every loader: each file gives a sound table or one sentence about that file, in time.

PEFTCORR_MUTATIONS sets how many files go through each (1000 for a release); the seeds count from 0.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import re
import shutil
import signal
import struct
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import process_time
from types import FrameType
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat

from peftcorr.data.base import DatasetSource, PairDataset
from peftcorr.data.columns import PAIR_FEATURES
from peftcorr.data.layouts.ap10k import Ap10k
from peftcorr.data.layouts.coco import Coco
from peftcorr.data.layouts.pf_pascal import PfPascal
from peftcorr.data.layouts.pf_willow import PfWillow
from peftcorr.data.layouts.spair import SpairFolder
from peftcorr.data.layouts.tapvid import TapvidDavis
from peftcorr.errors import PeftCorrError
from tests.data.layouts.array_mutations import damaged_mat, damaged_pickle, deep_cells
from tests.data.layouts.list_mutations import damaged_csv, damaged_lines
from tests.data.layouts.mutations import Damaged, damaged_json
from tests.published_layouts import (
    SPECIES,
    ap10k_content,
    coco_content,
    write_ap10k,
    write_coco,
    write_json,
    write_pf_pascal,
)
from tests.small_videos import make_video, write_pickle

FILES = int(os.environ.get("PEFTCORR_MUTATIONS", "100"))
SECONDS = 10.0  # of the processor; a file takes hundredths
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
LONGEST = 600  # letters of a message beside the path: it is to be read

Damage = Callable[[Random], Damaged]


@dataclass
class Case:
    """A sound folder, the file in it that is damaged, and the split that is then read.

    Attributes:
        names: pattern of what an error has to name beside the file: a field of it, a line, or why it is unreadable.
    """

    kind: type[DatasetSource]
    root: Path
    path: Path
    damage: Damage
    names: str
    options: dict[str, Any]
    split: str = "test"

    def load(self, cache: Path) -> PairDataset:
        """Read the split as it is now; `cache` must be a new folder."""
        return self.kind(self.kind.Config.model_validate(self.options), self.root, cache).load(self.split)


class Hangs(BaseException):
    """Raised by the alarm; no loader may take it for a fault of the file."""


def _spair(maker: Any) -> tuple[Path, Path, list[str]]:
    root = maker.write(("test",))
    layout = root / "Layout" / "large" / "test.txt"
    return root, layout, layout.read_text(encoding="utf-8").splitlines()


def spair_annotation(base: Path, request: pytest.FixtureRequest) -> Case:
    root, layout, names = _spair(request.getfixturevalue("spair"))
    layout.write_text("".join(f"{name}\n" for name in names[:3]), encoding="utf-8")
    path = root / "PairAnnotation" / "test" / f"{names[1]}.json"
    content = json.loads(path.read_bytes())
    fields = (
        r"category|(src|trg)_(imname|imsize|bndbox|kps)|kps_ids|\w+_variation|truncation|occlusion|mirror"
    )
    return Case(SpairFolder, root, path, lambda r: damaged_json(r, content), f"{fields}|{_JSON}", {})


def spair_layout(base: Path, request: pytest.FixtureRequest) -> Case:
    root, layout, names = _spair(request.getfixturevalue("spair"))
    return Case(
        SpairFolder, root, layout, lambda r: damaged_lines(r, names[:4]), r"line \d|UTF-8|lists no", {}
    )


def pf_willow(base: Path, request: pytest.FixtureRequest) -> Case:
    root = request.getfixturevalue("make_willow")(2)
    path = root / "duck(S)" / "001.mat"
    points = {"pts_coord": loadmat(path)["pts_coord"]}
    return Case(
        PfWillow, root, path, lambda r: damaged_mat(r, points), "pts_coord|no readable MATLAB file", {}
    )


def pf_pascal_listed(base: Path, request: pytest.FixtureRequest) -> Case:
    root = write_pf_pascal(base / "pf-pascal")
    path = root / "image_pairs" / "test_pairs.csv"
    text = path.read_text(encoding="utf-8")
    names = r"line \d|UTF-8|lists no"
    return Case(PfPascal, root, path, lambda r: damaged_csv(r, text), names, {})


def pf_pascal_annotated(base: Path, request: pytest.FixtureRequest) -> Case:
    root = write_pf_pascal(base / "pf-pascal")
    path = root / "PF-dataset-PASCAL" / "Annotations" / "cat" / "2009_000003.mat"
    variables = {name: value for name, value in loadmat(path).items() if not name.startswith("_")}
    names = "kps|bbox|no readable MATLAB file"
    return Case(PfPascal, root, path, lambda r: damaged_mat(r, variables), names, {"threshold": "box"}, "val")


def coco(base: Path, request: pytest.FixtureRequest) -> Case:
    root = write_coco(base / "farm", ("test",))
    path = root / "annotations" / "test.json"
    content = coco_content()
    return Case(Coco, root, path, lambda r: damaged_json(r, content), f"{_COCO}|{_JSON}", {})


def ap10k(base: Path, request: pytest.FixtureRequest) -> Case:
    """Three dogs and four elephants."""
    root = write_ap10k(base / "ap-10k", pictures=False)
    kept = [number for number, (_, _, images) in SPECIES.items() if images < 5]
    parts = ap10k_content()
    for split, part in parts.items():
        part["annotations"] = [a for a in part["annotations"] if a["category_id"] in kept]
        there = {annotation["image_id"] for annotation in part["annotations"]}
        part["images"] = [image for image in part["images"] if image["id"] in there]
        write_json(root / "annotations" / f"ap10k-{split}-split1.json", part)
    path = root / "annotations" / "ap10k-train-split1.json"
    return Case(Ap10k, root, path, lambda r: damaged_json(r, parts["train"]), f"{_COCO}|{_JSON}", {})


def ap10k_crowds(base: Path, request: pytest.FixtureRequest) -> Case:
    made = ap10k(base, request)
    path = made.root / "ap-10k_is_crowd.txt"
    lines = [f"{number:012d}" for number in (118, 5, 30)]
    return Case(Ap10k, made.root, path, lambda r: damaged_lines(r, lines), r"line \d|UTF-8", {})


def tapvid(base: Path, request: pytest.FixtureRequest) -> Case:
    videos = {f"video-{n}": make_video(n, 4, 5, 24, 8) for n in range(2)}
    root = write_pickle(base / "tapvid" / "tapvid_davis.pkl", videos)
    names = "video|points|occluded|no pickle of numpy arrays alone"
    path = root / "tapvid_davis.pkl"
    return Case(TapvidDavis, root, path, lambda r: damaged_pickle(r, videos), names, {})


_JSON = "the file is|not valid JSON|not UTF-8"
_COCO = "images|annotations|categories|file_name|keypoints in common"
CASES: list[Any] = [
    spair_annotation,
    spair_layout,
    pf_willow,
    pf_pascal_listed,
    pf_pascal_annotated,
    coco,
    ap10k,
    ap10k_crowds,
    tapvid,
]


@pytest.mark.filterwarnings("ignore")  # scipy warns of some damage before it refuses it
@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_damaged_annotation_gives_a_table_or_one_sentence(
    make: Callable[[Path, pytest.FixtureRequest], Case], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    case = make(tmp_path, request)
    assert _outcome(case, tmp_path / "cache") == ("table", "")  # as it is without damage
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    slowest = 0.0
    for seed in range(FILES):
        what, raw = case.damage(Random(f"{make.__name__} {seed}"))
        case.path.write_bytes(raw)
        began = process_time()
        outcome, problem = _outcome(case, tmp_path / "cache")
        slowest = max(slowest, process_time() - began)
        outcomes[outcome] += 1
        if problem:
            wrong.append(f"seed {seed} ({what[:200]}): {problem}")
    print(f"\n{make.__name__}: {dict(outcomes)} of {FILES}, slowest {slowest:.2f} s")
    assert not wrong, f"{len(wrong)} of {FILES}:\n" + "\n".join(wrong[:40])
    assert outcomes["table"] >= FILES // 50, "the damage never leaves a file sound"
    assert outcomes["error"] >= FILES // 4, "the damage does hardly any harm"


def _outcome(case: Case, cache: Path) -> tuple[str, str]:
    """``table`` or ``error``, and what is wrong with it, if anything."""
    try:
        with _deadline():
            dataset = case.load(cache)
            return "table", _unsound(dataset)
    except PeftCorrError as error:
        return "error", _unclear(str(error), case)
    except (Exception, Hangs) as error:
        return "other", f"{type(error).__name__}: {str(error)[:300]}"
    finally:
        shutil.rmtree(cache, ignore_errors=True)


class _deadline:
    """Raises `Hangs` after `SECONDS` where the system has alarms and this is the main thread."""

    def __enter__(self) -> None:
        self.armed = hasattr(signal, "SIGPROF") and threading.current_thread() is threading.main_thread()
        if self.armed:
            self.before = signal.signal(signal.SIGPROF, _ring)
            signal.setitimer(signal.ITIMER_PROF, SECONDS)

    def __exit__(self, *exception: object) -> None:
        if self.armed:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, self.before)


def _ring(number: int, frame: FrameType | None) -> None:
    raise Hangs(f"still reading after {SECONDS:g} s")


def _unclear(message: str, case: Case) -> str:
    """What is wrong with the message of an error."""
    rest = message.replace(str(case.root), "")
    if len(message.splitlines()) != 1 or _CONTROL.search(rest):
        return f"not one line: {message[:300]!r}"
    if len(rest) > LONGEST:
        return f"{len(rest)} letters: {message[:300]!r}"
    if case.path.name not in message and str(case.path.parent) + ":" not in message:
        return f"does not name the file: {message!r}"
    if not re.search(case.names, rest.replace(case.path.name, "")):
        return f"does not name the field: {message!r}"
    return "" if re.search(r"[.?]$", message) else f"no sentence: {message!r}"


def _unsound(dataset: PairDataset) -> str:
    """What is wrong with a table."""
    if dataset.table.features != PAIR_FEATURES:
        return "other columns"
    rows = dataset.table.with_format("arrow")[:].to_pylist()
    if not rows or len({row["pair_id"] for row in rows}) != len(rows):
        return "no pair, or two of one name"
    return next((f"{problem}: {row}" for row in rows if (problem := _unsound_pair(row))), "")


def _unsound_pair(row: dict[str, Any]) -> str:
    count = len(row["keypoint_ids"])
    occluded = row["target_occluded"]
    if count == 0 or len(set(row["keypoint_ids"])) != count:
        return "no keypoint, or one twice"
    for name in ("source_keypoints", "target_keypoints"):
        points = np.array(row[name], dtype=float)
        if points.shape != (count, 2) or not np.isfinite(points).all():
            return name
    if occluded is not None and (len(occluded) != count or None in occluded):
        return "target_occluded"
    if not (math.isfinite(row["reference_length"]) and row["reference_length"] > 0):
        return "reference_length"
    for name in ("source_size", "target_size"):
        if len(row[name]) not in (0, 2) or any(side < 1 for side in row[name]):
            return name
    for name in ("source_box", "target_box"):
        box = row[name]
        if box and not (len(box) == 4 and np.isfinite(box).all()):
            return name
    names = row["category"], row["source_image"], row["target_image"]
    return "" if all(name.strip() and not _CONTROL.search(name) for name in names) else "names"


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


FOUND: list[tuple[Any, Callable[[Case], bytes], str]] = [  # what once hung, died, raised or blamed the cache
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
        assert _outcome(case, tmp_path / "cache") == ("table", "")
        return
    with _deadline(), pytest.raises(PeftCorrError, match=expected):
        case.load(tmp_path / "cache")

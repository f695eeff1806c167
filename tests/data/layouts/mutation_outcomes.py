"""What reading a damaged file came to: a sound table, one clear sentence in time, or what is wrong with either."""

from __future__ import annotations

import math
import re
import shutil
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from peftcorr.data.base import PairDataset
from peftcorr.data.columns import PAIR_FEATURES
from peftcorr.errors import PeftCorrError
from tests.data.layouts.mutation_cases import Case

SECONDS = 10.0  # of the processor; a file takes hundredths
LONGEST = 600  # letters of a message beside the path: it is to be read
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class Hangs(BaseException):
    """Raised by the alarm; no loader may take it for a fault of the file."""


def outcome(case: Case, cache: Path) -> tuple[str, str]:
    """``table`` or ``error``, and what is wrong with it, if anything."""
    try:
        with deadline():
            dataset = case.load(cache)
            return "table", _unsound(dataset)
    except PeftCorrError as error:
        return "error", _unclear(str(error), case)
    except (Exception, Hangs) as error:
        return "other", f"{type(error).__name__}: {str(error)[:300]}"
    finally:
        shutil.rmtree(cache, ignore_errors=True)


class deadline:
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

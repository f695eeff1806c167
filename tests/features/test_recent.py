"""The maps of the last images, in memory."""

from __future__ import annotations

import torch

from peftcorr.data.frame import Frame
from peftcorr.features.kept import Kept
from peftcorr.features.recent import RecentMaps

FRAME = Frame(60, 40, 32)
BYTES = 4 * 4 * 4 * 8


def kept(value: float) -> Kept:
    return Kept(torch.full((4, 4, 8), float(value)), FRAME)


def test_what_was_used_least_of_late_makes_room() -> None:
    recent = RecentMaps(2 * BYTES)
    for name, value in (("a", 1), ("b", 2)):
        recent.keep(name, kept(value))
    assert recent.find("a") is not None, "used again, so that b is the oldest"
    recent.keep("c", kept(3))
    assert (len(recent), recent.find("b")) == (2, None)
    found = recent.find("a")
    assert found is not None
    assert (found.feature == 1).all()


def test_what_is_larger_than_the_budget_drives_nothing_out() -> None:
    recent = RecentMaps(BYTES)
    recent.keep("a", kept(1))
    recent.keep("large", Kept(torch.zeros(8, 8, 8), FRAME))
    assert recent.find("large") is None
    assert recent.find("a") is not None


def test_the_same_image_twice_takes_its_bytes_once() -> None:
    recent = RecentMaps(2 * BYTES)
    for name in ("a", "a", "b"):
        recent.keep(name, kept(1))
    assert len(recent) == 2

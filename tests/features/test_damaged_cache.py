"""Cached features that are not what was written are never used, and made anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peftcorr.features.cache import FeatureCache, Shelf
from peftcorr.features.encode import Encoder
from tests.features.desk import IMAGES, SHAPE, Desk, header_of, images_in
from tests.small_models import Small, build


def _flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(bytes(content))


def _rewrite_sizes(path: Path) -> None:
    """Other image sizes in the header, of the same number of bytes, the rest as it was."""
    content, (length, _) = path.read_bytes(), header_of(path)
    header = content[8 : 8 + length]
    start = header.index(b"[", header.index(b'\\"', header.index(b'"sizes"')))
    changed = (
        header[: start + 1] + (b"9" if header[start + 1 : start + 2] != b"9" else b"8") + header[start + 2 :]
    )
    path.write_bytes(content[:8] + changed + content[8 + length :])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a bit of a feature": lambda path: _flip(path, -5),
    "a bit of the first feature": lambda path: _flip(path, 8 + header_of(path)[0]),
    "a bit of the header's length": lambda path: _flip(path, 0),
    "a bit of the header": lambda path: _flip(path, 40),
    "sizes of images": _rewrite_sizes,
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "grown": lambda path: path.write_bytes(path.read_bytes() + b"\0" * 64),
    "not safetensors": lambda path: path.write_bytes(b"nothing of the kind" * 100),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_rebuilt_and_never_used(desk: Desk, damage: str) -> None:
    plain, _ = desk.score()
    for path in desk.files():
        DAMAGE[damage](path)
    found, forwards = desk.score()
    assert forwards == IMAGES
    np.testing.assert_array_equal(found, plain)
    found, forwards = desk.score()
    assert forwards == 0
    np.testing.assert_array_equal(found, plain)
    assert len(desk.files()) == 3


def test_one_damaged_file_costs_its_own_images_alone(desk: Desk) -> None:
    plain, _ = desk.score()
    _flip(desk.files()[0], -5)
    in_it = images_in(desk.files()[0])
    found, forwards = desk.score()
    assert forwards == in_it < IMAGES
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-3)


def test_a_file_swapped_during_a_run_is_not_used(desk: Desk) -> None:
    """Its header was read; what is mapped later is another file."""
    desk.score()
    split, encoder = desk.split(), Encoder(build(Small, desk.weights))
    every = np.arange(IMAGES)
    shelf = FeatureCache(desk.cache, "").shelf(split.data, split.store, encoder, every, SHAPE, desk.said.say)
    path = desk.files()[0]
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    assert len(shelf.get(every)) == IMAGES - images_in(path)


def test_a_damaged_file_that_is_still_there_is_not_taken_in_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread has found it damaged and is about to delete it, while another writes and looks around."""
    desk.score()
    _flip(desk.files()[0], -5)
    discard, looked = Shelf._discard, []

    def discard_while_another_looks(self: Shelf, file: Any) -> None:
        unlink = Path.unlink

        def look_first(path: Path, missing_ok: bool = False) -> None:
            looked.append(path)
            self.scan()
            unlink(path, missing_ok)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", look_first)
            discard(self, file)

    monkeypatch.setattr(Shelf, "_discard", discard_while_another_looks)
    assert desk.score()[1] > 0
    assert looked
    monkeypatch.undo()
    assert desk.score()[1] == 0

"""A split as arrays: its images decoded ahead, and what of it the target shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from peftcorr.data.images import ImageStore
from tests.engine.building import load_split
from tests.small_folder import write_folder


@pytest.mark.parametrize("chunk", [1, 3, 8, 64])
def test_every_image_is_decoded_once_in_parts(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = load_split(write_folder(tmp_path / "photographs"), tmp_path / "cache")
    asked: list[tuple[str, list[int]]] = []
    parts: list[int] = []
    add = ImageStore.add

    def watched(self: ImageStore, paths: list[str], sizes: list[list[int]]) -> None:
        asked.extend(zip(paths, sizes, strict=True))
        parts.append(len(paths))
        add(self, paths, sizes)

    monkeypatch.setattr(ImageStore, "add", watched)
    split.data.decode(split.store, chunk)
    assert asked == list(zip(split.data.images, split.data.sizes, strict=True))
    assert split.store.decodes == len(split.store) == 8
    assert parts == {1: [1] * 8, 3: [3, 3, 2], 8: [8], 64: [8]}[chunk]


def test_what_the_target_shows(tmp_path: Path) -> None:
    data = load_split(write_folder(tmp_path / "photographs"), tmp_path / "cache").data
    assert data.n_visible == len(data)
    assert data.keypoint[data.visible].tolist() == data.keypoint.tolist()
    hidden = np.arange(len(data)) % 4 == 1
    some = replace(data, occluded=hidden)
    assert some.n_visible == len(data) - hidden.sum()
    assert some.keypoint[some.visible].tolist() == data.keypoint[~hidden].tolist()

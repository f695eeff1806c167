"""A grid of windows gives what each of them gives alone."""

from __future__ import annotations

import pytest
import torch

from peftcorr.matching import window_grid
from peftcorr.matching.predictors import WindowSoftargmax
from peftcorr.matching.window_grid import WindowGrid

Setting = WindowSoftargmax.Config
SETTINGS = [Setting(radius=r, temperature=t) for r in (0, 1, 2, 7) for t in (3.0, 10.0, 200.0)]


@pytest.mark.parametrize("chunk", [1, 500, 1 << 17])
def test_the_same_to_the_last_bit(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(window_grid, "_CHUNK_CELLS", chunk)
    maps = torch.rand((30, 6, 9), generator=torch.Generator().manual_seed(0))
    found = WindowGrid(SETTINGS).predict(maps, 14)
    assert found.shape == (len(SETTINGS), 30, 2)
    for setting, points in zip(SETTINGS, found, strict=True):
        assert torch.equal(points, WindowSoftargmax(setting).predict(maps, 14)), setting


def test_the_largest_window_is_gathered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    radii: list[int] = []
    gather = window_grid.window_round_peak

    def watched(maps, radius):  # type: ignore[no-untyped-def]
        radii.append(radius)
        return gather(maps, radius)

    monkeypatch.setattr(window_grid, "window_round_peak", watched)
    WindowGrid(SETTINGS).predict(torch.rand(8, 6, 9), 14)
    assert radii == [7]


def test_any_number_of_maps_at_once() -> None:
    maps = torch.rand(2, 5, 6, 9)
    found = WindowGrid(SETTINGS).predict(maps, 14)
    assert found.shape == (len(SETTINGS), 2, 5, 2)
    assert WindowGrid(SETTINGS).predict(maps[0, :0], 14).shape == (len(SETTINGS), 0, 2)

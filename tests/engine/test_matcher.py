"""Predictors that look at the target, and grids of settings, among the others in one evaluation pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch.nn import functional

from peftcorr.engine.evaluate import Evaluator
from peftcorr.features.encode import Encoder
from peftcorr.matching.predictors import Argmax, Predictor, WindowSoftargmax
from peftcorr.matching.similarity import normalise, sample_queries
from peftcorr.matching.upsampled import UpsampledArgmax
from peftcorr.matching.window_grid import WindowGrid
from tests.engine.building import SILENT, load_split
from tests.engine.test_step import CELLS, STRIDE
from tests.small_models import SIZE, Small, build

SETTINGS = [WindowSoftargmax.Config(radius=1, temperature=t) for t in (5.0, 50.0)]


def all_predictors() -> list[Predictor]:
    return [
        WindowGrid(SETTINGS),
        UpsampledArgmax(UpsampledArgmax.Config()),
        Argmax(Argmax.Config()),
        WindowSoftargmax(SETTINGS[1]),
    ]


def test_each_predictor_has_its_own_rows(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three similarity maps at a time: the keypoints of most targets are matched in several parts."""
    split, backbone = load_split(photographs, tmp_path, "test"), build(Small, small_weights)
    monkeypatch.setattr("peftcorr.engine.schedule._MATCH_BYTES", 3 * 4 * CELLS * CELLS)
    together = (
        Evaluator(Encoder(backbone), Accelerator(cpu=True), 3, SILENT).predict(split, all_predictors()).points
    )
    assert together.shape == (5, len(split.data), 2)
    alone = [
        Evaluator(Encoder(backbone), Accelerator(cpu=True), 3, SILENT).predict(split, [predictor]).points
        for predictor in all_predictors()
    ]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    np.testing.assert_array_equal(together[1], together[4])


def test_upsampled_argmax_finds_the_best_pixel_of_the_target(
    photographs: Path, small_weights: Path, tmp_path: Path
) -> None:
    split, backbone = load_split(photographs, tmp_path, "test"), build(Small, small_weights)
    data = split.data
    predictor = UpsampledArgmax(UpsampledArgmax.Config())
    found = (
        Evaluator(Encoder(backbone), Accelerator(cpu=True), 3, SILENT).predict(split, [predictor]).points[0]
    )
    with torch.inference_mode():
        encoder = Encoder(backbone)
        maps = normalise(encoder.features(data, split.store, np.arange(len(data.images))).double())
    source = data.to_input(data.source_points, data.source[data.pair], split.store)
    at_input = np.round(data.to_input(found, data.target[data.pair], split.store)).astype(int)
    assert at_input.min() >= 0
    assert at_input.max() < SIZE
    pixels = normalise(functional.interpolate(maps, size=(SIZE, SIZE), mode="bilinear", align_corners=False))
    assert SIZE == CELLS * STRIDE
    for row in range(0, len(data), 5):
        pair = data.pair[row]
        point = torch.from_numpy(source[row])[None, None]
        query = sample_queries(maps[data.source[pair]][None], point, STRIDE)[0, 0]
        cosine = torch.einsum("c,chw->hw", query, pixels[data.target[pair]])
        x, y = at_input[row]
        assert cosine[y, x] == pytest.approx(float(cosine.max()), abs=1e-6)

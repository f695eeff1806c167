"""`bilinear_argmax`: four cells looked for instead of the keypoint between them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from accelerate import Accelerator

from peftcorr.engine.evaluate import Evaluator, Split
from peftcorr.engine.flip import predict_with_flip
from peftcorr.errors import PeftCorrError
from peftcorr.features.encode import Encoder
from peftcorr.matching.predictors import Argmax, BilinearArgmax, WindowSoftargmax
from tests.engine.building import SILENT, load_split
from tests.small_models import Small, build

ARGMAX, BILINEAR = Argmax(Argmax.Config()), BilinearArgmax(BilinearArgmax.Config())
WINDOW = WindowSoftargmax(WindowSoftargmax.Config())


@pytest.fixture
def evaluator(small_weights: Path) -> Evaluator:
    return Evaluator(Encoder(build(Small, small_weights)), Accelerator(cpu=True), 3, SILENT)


def placed(split: Split, grid: np.ndarray, stride: int) -> Split:
    """The split with its queries at places (N, 2) of the feature grid."""
    data = split.data
    sizes = np.array(data.sizes)[data.source[data.pair]]
    points = (grid + 0.5) * stride * sizes / split.store.size - 0.5
    return replace(split, data=replace(data, source_points=points))


def test_it_is_the_weighted_mean_of_what_the_four_cells_find(
    photographs: Path, tmp_path: Path, evaluator: Evaluator
) -> None:
    split, stride = load_split(photographs, tmp_path, "test"), evaluator.encoder.backbone.stride
    draw = np.random.default_rng(0)
    cell = draw.integers(0, split.store.size // stride - 1, (len(split.data), 2)).astype(float)
    share = draw.uniform(0.1, 0.9, cell.shape)
    found = evaluator.predict(placed(split, cell + share, stride), [BILINEAR]).points[0]
    expected = np.zeros_like(found)
    for right in (0, 1):
        for below in (0, 1):
            corner = placed(split, cell + np.array((right, below)), stride)
            weight = np.abs(1 - np.array([right, below]) - share).prod(1, keepdims=True)
            expected += weight * evaluator.predict(corner, [ARGMAX]).points[0]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert np.abs(found - evaluator.predict(corner, [ARGMAX]).points[0]).max() > 1


def test_at_the_centre_of_a_cell_it_is_argmax(
    photographs: Path, tmp_path: Path, evaluator: Evaluator
) -> None:
    split, stride = load_split(photographs, tmp_path, "test"), evaluator.encoder.backbone.stride
    last = split.store.size // stride - 1
    cell = np.random.default_rng(0).integers(0, last + 1, (len(split.data), 2)).astype(float)
    cell[0] = last  # there is none after it
    found = evaluator.predict(placed(split, cell, stride), [BILINEAR, ARGMAX]).points
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_the_others_predict_as_without_it(photographs: Path, tmp_path: Path, evaluator: Evaluator) -> None:
    split = load_split(photographs, tmp_path, "test")
    alone = evaluator.predict(split, [ARGMAX, WINDOW])
    encoded = evaluator.encoder.forwards
    beside = evaluator.predict(split, [ARGMAX, BILINEAR, WINDOW])
    assert evaluator.encoder.forwards == 2 * encoded  # each image once, as before
    np.testing.assert_array_equal(beside.points[[0, 2]], alone.points)
    np.testing.assert_array_equal(beside.peaks, alone.peaks)


def test_no_flip_is_made_of_it(photographs: Path, tmp_path: Path, evaluator: Evaluator) -> None:
    with pytest.raises(PeftCorrError, match="flip=adaptive is not made for the predictor bilinear_argmax"):
        predict_with_flip(evaluator, load_split(photographs, tmp_path, "test"), [BILINEAR])

"""Evaluation against a naive loop over pairs, which encodes both images of every pair by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor

from peftcorr.backbones.dinov2 import Dinov2
from peftcorr.data.images import ResizeMode
from peftcorr.engine.evaluate import Evaluator, Split
from peftcorr.features.encode import Encoder
from peftcorr.features.prefix import PrefixStore
from peftcorr.matching.predictors import Argmax, Predictor, WindowSoftargmax
from tests.engine.building import SILENT, load_split
from tests.engine.test_step import CELLS, STRIDE, bilinear
from tests.small_models import SIZE, Small, build


def predictors() -> list[Predictor]:
    return [Argmax(Argmax.Config()), WindowSoftargmax(WindowSoftargmax.Config(radius=1, temperature=10))]


def evaluate(split: Split, backbone: Dinov2, batch: int = 16) -> tuple[np.ndarray, Encoder]:
    encoder = Encoder(backbone)
    return Evaluator(encoder, Accelerator(cpu=True), batch, SILENT).predict(
        split, predictors()
    ).points, encoder


def naive(split: Split, backbone: Dinov2, mode: ResizeMode) -> tuple[np.ndarray, list[float]]:
    """Argmax predictions and the similarity there, one keypoint after the other, from the files themselves."""
    root, rows, peaks = split.dataset.image_root, [], []
    for pair in split.dataset.table:
        scale = {}
        maps: dict[str, Tensor] = {}
        for side in ("source", "target"):
            image = Image.open(root / pair[f"{side}_image"]).convert("RGB")
            ratio = SIZE / max(image.size)
            extent = (
                (SIZE, SIZE) if mode == "stretch" else tuple(max(1, round(n * ratio)) for n in image.size)
            )
            square = np.zeros((SIZE, SIZE, 3), dtype=np.float32)
            square[: extent[1], : extent[0]] = image.resize(extent, Image.Resampling.BICUBIC)
            pixels = (square / 255 - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
            with torch.no_grad():
                features = backbone.features(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0].double()
            maps[side] = features / features.norm(dim=0)
            scale[side] = np.array(extent) / image.size
        for x, y in pair["source_keypoints"]:
            inside = (np.array([x, y]) + 0.5) * scale["source"] - 0.5
            query = bilinear(maps["source"], *inside)
            similarity = torch.einsum("c,chw->hw", query / query.norm(), maps["target"])
            best = int(similarity.argmax())
            peaks.append(float(similarity.max()))
            cell = np.array([best % CELLS, best // CELLS])
            original = (cell + 0.5) * STRIDE / scale["target"] - 0.5
            width, height = Image.open(root / pair["target_image"]).size
            if mode == "pad":
                original = np.clip(original, -0.5, [width - 0.5, height - 0.5])
            rows.append(original)
    return np.array(rows), peaks


@pytest.mark.parametrize("mode", ["stretch", "pad"])
def test_equals_a_loop_over_pairs(
    photographs: Path, small_weights: Path, tmp_path: Path, mode: ResizeMode
) -> None:
    split, backbone = load_split(photographs, tmp_path, "test", mode), build(Small, small_weights)
    predicted = Evaluator(Encoder(backbone), Accelerator(cpu=True), 16, SILENT).predict(split, predictors())
    found, peaks = predicted.points, predicted.peaks
    assert found.shape == (2, len(split.data), 2)
    expected, similarities = naive(split, backbone, mode)
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(peaks, similarities, rtol=0, atol=1e-5)
    assert len(np.unique(found[0], axis=0)) > 10


def test_every_image_is_encoded_and_decoded_once(
    photographs: Path, small_weights: Path, tmp_path: Path
) -> None:
    """24 pairs name 48 images: a loop over pairs would encode each of the eight six times."""
    split, backbone = load_split(photographs, tmp_path, "test"), build(Small, small_weights)
    seen = []
    backbone.model.embeddings.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    _, encoder = evaluate(split, backbone, batch=3)
    assert sum(seen) == encoder.forwards == split.store.decodes == len(split.data.images) == 8
    assert max(seen) == 3


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_the_batch_size_decides_nothing(
    photographs: Path, small_weights: Path, tmp_path: Path, batch: int
) -> None:
    split, backbone = load_split(photographs, tmp_path, "test"), build(Small, small_weights)
    expected, _ = evaluate(split, backbone)
    found, _ = evaluate(split, backbone, batch)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(found[0], expected[0])


def test_many_queries_are_matched_in_parts(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split, backbone = load_split(photographs, tmp_path, "test"), build(Small, small_weights)
    expected, _ = evaluate(split, backbone)
    monkeypatch.setattr("peftcorr.engine.schedule._MATCH_BYTES", 3 * 8 * CELLS * CELLS)
    found, _ = evaluate(split, backbone)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_points_are_moved_to_the_original_in_parts(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split, backbone = load_split(photographs, tmp_path, "test"), build(Small, small_weights)
    expected, _ = evaluate(split, backbone)
    for chunk in (1, 7, len(split.data)):
        monkeypatch.setattr("peftcorr.engine.evaluate._CHUNK", chunk)
        np.testing.assert_array_equal(evaluate(split, backbone)[0], expected)


def test_kept_prefixes_change_no_prediction(photographs: Path, small_weights: Path, tmp_path: Path) -> None:
    split, backbone = load_split(photographs, tmp_path, "test"), build(Small, small_weights)
    expected, _ = evaluate(split, backbone)
    kept = replace(split, prefixes=PrefixStore())
    encoder = Encoder(backbone, first_trainable=2)
    for _ in range(2):
        found = Evaluator(encoder, Accelerator(cpu=True), 16, SILENT).predict(kept, predictors()).points
        np.testing.assert_array_equal(found, expected)


def test_a_limited_split_encodes_its_own_images_alone(
    photographs: Path, small_weights: Path, tmp_path: Path
) -> None:
    from peftcorr.data.correspondences import correspondences

    whole, backbone = load_split(photographs, tmp_path, "test"), build(Small, small_weights)
    dataset = whole.dataset.limited(3)
    split = Split(dataset, correspondences(dataset), whole.store)
    found, encoder = evaluate(split, backbone)
    assert encoder.forwards == len(split.data.images) < 8
    names = [pair["pair_id"] for pair in dataset.table]
    rows = [row for row, pair in enumerate(whole.data.pair) if whole.data.pair_ids[pair].as_py() in names]
    np.testing.assert_allclose(found[0], evaluate(whole, backbone)[0][0][rows], rtol=0, atol=1e-9)


def test_the_backbone_is_scored_in_evaluation_mode(
    photographs: Path, small_weights: Path, tmp_path: Path
) -> None:
    split, backbone = load_split(photographs, tmp_path, "test"), build(Small, small_weights)
    backbone.train()
    evaluate(split, backbone)
    assert not backbone.training

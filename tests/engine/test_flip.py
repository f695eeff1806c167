"""The adaptive flip against a loop over pairs that mirrors the pictures themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from peftcorr.backbones.dinov2 import Dinov2
from peftcorr.data.frame import FRAMINGS
from peftcorr.data.images import ImageStore
from peftcorr.engine.evaluate import Evaluator, Predicted, Split
from peftcorr.engine.flip import distance, partners, predict_with_flip
from peftcorr.errors import PeftCorrError
from peftcorr.features.encode import Encoder
from peftcorr.matching.conventions import CONVENTIONS
from peftcorr.matching.predictors import Argmax
from peftcorr.matching.upsampled import UpsampledArgmax
from peftcorr.metrics.symmetry import mirrors
from tests.engine.building import SILENT, load_split
from tests.engine.naive_conventions import SYSTEMS
from tests.small_models import SIZE, Small, build


def both_predicted(
    split: Split, backbone: Dinov2, name: str, upsampled: bool = False
) -> tuple[Predicted, Predicted, Encoder]:
    """Without and with the flip."""
    predictors = [Argmax(Argmax.Config())]
    if upsampled:
        predictors.append(UpsampledArgmax(UpsampledArgmax.Config()))
    encoder = Encoder(backbone)
    evaluator = Evaluator(encoder, Accelerator(cpu=True), 3, SILENT, convention=CONVENTIONS[name])
    plain = evaluator.predict(split, predictors)
    encoder.forwards = 0
    return plain, predict_with_flip(evaluator, split, predictors), encoder


def of_spair(photographs: Path, cache: Path, name: str) -> Split:
    """The small folder, whose keypoints then have SPair-71k's partners."""
    split = load_split(photographs, cache, "test")
    mode = FRAMINGS[name].resized("spair71k", "stretch")
    store = ImageStore(split.store.image_root, SIZE, mode, workers=1)
    return replace(split, store=store, dataset=replace(split.dataset, name="spair71k"))


@pytest.mark.parametrize("name", ["peftcorr", "geoaware"])
def test_pairs_that_fit_better_mirrored_are_matched_so(
    photographs: Path, small_weights: Path, tmp_path: Path, name: str
) -> None:
    split, backbone = of_spair(photographs, tmp_path, name), build(Small, small_weights)
    plain, found, encoder = both_predicted(split, backbone, name)
    data, system = split.data, SYSTEMS[name](SIZE, backbone.stride, "spair71k")
    assert encoder.forwards == len(data.images) + len(np.unique(data.source))

    def encode(image: Image.Image) -> np.ndarray:
        pixels = (system.pixels(image) - np.array(backbone.mean)) / np.array(backbone.std)
        with torch.inference_mode():
            return (
                backbone.features(torch.from_numpy(pixels).float().permute(2, 0, 1)[None])[0].double().numpy()
            )

    def fit(one: np.ndarray, other: np.ndarray) -> float:
        """Mean distance of mutual nearest neighbours."""
        units = [f.reshape(len(f), -1).T / np.linalg.norm(f, axis=0).reshape(-1, 1) for f in (one, other)]
        apart = np.linalg.norm(units[0][:, None] - units[1][None], axis=2)
        there, back = apart.argmin(1), apart.argmin(0)
        return float(np.mean([apart[i, j] for i, j in enumerate(there) if back[j] == i]))

    images = [Image.open(split.dataset.image_root / path).convert("RGB") for path in data.images]
    flipped = 0
    for pair, (source, target) in enumerate(zip(data.source, data.target, strict=True)):
        rows = np.flatnonzero(data.pair == pair)
        image = images[source]
        mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        maps = [encode(one) for one in (image, mirrored, images[target])]
        if not fit(maps[1], maps[2]) < fit(maps[0], maps[2]):
            np.testing.assert_array_equal(found.points[:, rows], plain.points[:, rows])
            continue
        flipped += 1
        names = [data.keypoint_names[k] for k in data.keypoint[rows]]
        other = mirrors("spair71k", data.categories[target], [str(n) for n in range(30)])
        for row, keypoint in zip(rows, names, strict=True):
            partner = other.get(keypoint, keypoint)
            if partner not in names:
                np.testing.assert_array_equal(found.points[:, row], plain.points[:, row])
                continue
            x, y = data.source_points[rows[names.index(partner)]]
            if name == "peftcorr":
                place = system.to_frame(image.width - 1 - x, y, mirrored)
            else:
                left, top = system.to_frame(x, y, image)
                place = SIZE - left, top
            u, v = SYSTEMS["sd_dino"].predictors(system)[0](
                system.map(system.query(maps[1], *place), maps[2])
            )
            expected = system.from_frame(*system.back(u, v), images[target])
            np.testing.assert_allclose(found.points[0, row], expected, atol=1e-9)
    assert 0 < flipped < len(data.source)
    assert (found.points != plain.points).any()


def test_a_predictor_that_looks_at_the_target(photographs: Path, small_weights: Path, tmp_path: Path) -> None:
    """Its rows are those of a run without the other one."""
    split, backbone = of_spair(photographs, tmp_path, "peftcorr"), build(Small, small_weights)
    _, found, _ = both_predicted(split, backbone, "peftcorr", upsampled=True)
    _, alone, _ = both_predicted(split, backbone, "peftcorr")
    np.testing.assert_array_equal(found.points[0], alone.points[0])
    assert np.abs(found.points[1] - found.points[0]).max() < 70
    assert np.isfinite(found.points).all()


def test_partners(photographs: Path, tmp_path: Path) -> None:
    data = load_split(photographs, tmp_path, "test").data
    found = partners(data, "spair71k")
    for row in range(len(data)):
        category = data.categories[data.target[data.pair[row]]]
        own = data.keypoint_names[data.keypoint[row]]
        wanted = mirrors("spair71k", category, map(str, range(30))).get(own, own)
        there = [
            r
            for r in np.flatnonzero(data.pair == data.pair[row])
            if data.keypoint_names[data.keypoint[r]] == wanted
        ]
        assert found[row] == (there[0] if there else -1)
    assert (found == -1).any()


def test_a_map_fits_itself_best() -> None:
    maps = torch.nn.functional.normalize(
        torch.randn((2, 4, 5, 8), generator=torch.Generator().manual_seed(0)), dim=-1
    )
    assert distance(maps[0], maps[0]) == pytest.approx(0, abs=1e-3)
    assert distance(maps[0], maps[1]) > 0.1


def test_a_system_without_a_flip_says_so(photographs: Path, small_weights: Path, tmp_path: Path) -> None:
    split, backbone = of_spair(photographs, tmp_path, "marco"), build(Small, small_weights)
    with pytest.raises(PeftCorrError, match="flip=adaptive is not made for the convention marco"):
        both_predicted(split, backbone, "marco")

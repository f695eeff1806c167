"""Every convention against its system's formulas, retyped: on made pictures, and on photographs of PF-Willow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from peftcorr.backbones import BACKBONES, Backbone
from peftcorr.backbones.identity import local_weights
from peftcorr.config import complete, make
from peftcorr.data.correspondences import Geometry, correspondences
from peftcorr.data.frame import FRAMINGS, Frame
from peftcorr.data.images import ImageStore
from peftcorr.data.layouts.pf_willow import PfWillow
from peftcorr.engine.evaluate import Evaluator, Split
from peftcorr.features.encode import Encoder
from peftcorr.matching import PREDICTORS
from peftcorr.matching.conventions import CONVENTIONS, Convention
from peftcorr.matching.predictors import Predictor
from tests.engine.building import SILENT, load_split
from tests.engine.naive_conventions import SYSTEMS
from tests.small_models import Small, build

# A 300 x 200 image, keypoint (100, 50), S = 224, p = 14: in the square, on the grid, and where (3, 12) comes back to.
VECTOR: dict[tuple[str, str], Any] = {
    ("peftcorr", "spair71k"): ((74.54, 56.06), (4.86, 3.54), (48.5, 174.5)),
    ("dift", "spair71k"): ((74.54, 56.06), (4.86, 3.54), (48.5, 174.5)),
    ("geoaware", "spair71k"): ((74.66667, 74.33333), (5, 5), (49, 175)),
    ("sd_dino", "spair71k"): ((74.66667, 74.33333), (5, 5), (48.5, 174.5)),
    ("sd4match", "spair71k"): ((74.66667, 56), (5.02242, 3.76682), (44.6, 178.4)),
    ("visual_ai", "spair71k"): ((74.58194, 56.03015), (5.01672, 3.76884), (44.6, 178.4)),
    ("marco", "spair71k"): ((74.66667, 56), (5.33333, 4), (44.6, 178.4)),
    ("marco", "spair_u"): ((74.66667, 56), (5.33333, 4), (44.6, 178.4)),
    ("marco", "ap10k-cross_species"): ((74.66667, 37.25), (5.33333, 2.66071), (44.6, 178.4)),
    ("marco", "pf_pascal"): ((74.66667, 37.25), (5.33333, 2.66071), (44.6, 178.4)),
}


@pytest.mark.parametrize(("name", "dataset"), VECTOR)
def test_one_keypoint(name: str, dataset: str) -> None:
    convention, framing = CONVENTIONS[name], FRAMINGS[name]
    geometry = Geometry(1, framing.placing)
    geometry.learn(np.array([0]), [Frame(300, 200, 224, framing.resized(dataset, "stretch"))])
    placed = geometry.to_input(framing.rounded(np.array([[100.0, 50.0]]), dataset), np.array([0]))
    back = convention.to_frame(np.array([[3.5 * 14 - 0.5, 12.5 * 14 - 0.5]]), 224, 14)
    for found, expected in zip(
        (placed, convention.to_grid(placed, 224, 14), back), VECTOR[name, dataset], strict=True
    ):
        np.testing.assert_allclose(found[0], expected, atol=5e-6)


def predictors(convention: Convention) -> list[Predictor]:
    sections = convention.predictors or ({"name": "argmax"},)
    return [make(PREDICTORS, complete(PREDICTORS, section)) for section in sections]


def predicted(split: Split, backbone: Backbone, convention: Convention, batch: int = 3) -> np.ndarray:
    evaluator = Evaluator(Encoder(backbone), Accelerator(cpu=True), batch, SILENT, convention=convention)
    return evaluator.predict(split, predictors(convention)).points


def by_hand(split: Split, backbone: Backbone, name: str, rows: np.ndarray) -> np.ndarray:
    """(P, len(rows), 2) by the system's formulas."""
    size, data = backbone.config.image_size, split.data
    system = SYSTEMS[name](size, backbone.stride, split.dataset.name)
    seen: dict[bytes, np.ndarray] = {}

    def encode(pixels: np.ndarray) -> np.ndarray:
        key = pixels.tobytes()
        if key not in seen:
            normalised = np.nan_to_num((pixels - np.array(backbone.mean)) / np.array(backbone.std))
            with torch.inference_mode():
                tensor = torch.from_numpy(normalised).float().permute(2, 0, 1)[None]
                seen[key] = backbone.features(tensor)[0].double().numpy()
        return seen[key]

    images = [Image.open(split.dataset.image_root / path).convert("RGB") for path in data.images]
    squares = {id(image): system.pixels(image) for image in images}
    system.pixels = lambda image: squares[id(image)]  # of a photograph it takes a while
    found = []
    for row in rows:
        source, target = (images[side[data.pair[row]]] for side in (data.source, data.target))
        found.append(system.predict(source, target, *data.source_points[row], encode))
    return np.array(found).swapaxes(0, 1)


def with_convention(split: Split, convention: Convention, dataset: str) -> Split:
    mode = FRAMINGS[convention.name].resized(dataset, "stretch")
    store = ImageStore(split.store.image_root, split.store.size, mode, workers=1)
    return replace(split, store=store, dataset=replace(split.dataset, name=dataset))


@pytest.mark.parametrize(
    ("name", "dataset"),
    [*((name, "spair71k") for name in CONVENTIONS), ("visual_ai", "pf_pascal"), ("marco", "pf_pascal")],
)
def test_pictures_of_any_shape_and_keypoints_at_their_edges(
    photographs: Path, small_weights: Path, tmp_path: Path, name: str, dataset: str
) -> None:
    split, backbone = load_split(photographs, tmp_path, "test"), build(Small, small_weights)
    data, convention = split.data, CONVENTIONS[name]
    size = np.array(data.sizes)[data.source[data.pair]]
    points = data.source_points + np.random.default_rng(0).uniform(0, 0.9, data.source_points.shape)
    points[::4] = size[::4] - 1  # the last pixel
    points[1::8] = 0
    points[2::8, 1] = size[2::8, 1] - 0.4  # a little beyond it, which is a pixel yet for who rounds down
    if name != "dift":  # which has no pixel there
        points[3::8, 0] = size[3::8, 0] + 6.0
        points[5::8, 0] = -0.3
    changed = with_convention(replace(split, data=replace(data, source_points=points)), convention, dataset)
    rows = np.arange(24)
    found = predicted(changed, backbone, convention)[:, rows]
    np.testing.assert_allclose(found, by_hand(changed, backbone, name, rows), atol=5e-4)


def test_photographs(shared_root: Path, tmp_path: Path) -> None:
    """Two of a class of PF-Willow, with the weights that the systems' own figures are of."""
    folder = shared_root / "data" / "pf-willow" / "PF-dataset-WILLOW" / "winebottle(wC)"
    (tmp_path / "some" / folder.name).mkdir(parents=True)
    for path in sorted(folder.iterdir())[:4]:  # a picture and its keypoints
        (tmp_path / "some" / folder.name / path.name).symlink_to(path)
    cls = BACKBONES.get("dinov2_vits14")
    weights = local_weights(shared_root / "weights" / "dinov2-small-saliency")
    backbone = cls.build(cls.Config(image_size=84), weights)
    backbone.eval()
    dataset = PfWillow(PfWillow.Config(), tmp_path / "some", tmp_path).load("test")
    for name, convention in CONVENTIONS.items():
        if (
            convention.enlarged
        ):  # a map of the photograph's size takes seconds by hand; made pictures are small
            continue
        mode = FRAMINGS[convention.name].resized(dataset.name, "stretch")
        store = ImageStore(dataset.image_root, 84, mode, workers=1)
        split = Split(dataset, correspondences(dataset), store)
        rows = np.arange(0, 20, 2)
        found = predicted(split, backbone, convention)[:, rows]
        np.testing.assert_allclose(found, by_hand(split, backbone, name, rows), atol=2e-3, err_msg=name)

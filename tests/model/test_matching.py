"""A model matches pictures as evaluation does, to the last digit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from PIL import Image

import peftcorr
from peftcorr.backbones import BACKBONES
from peftcorr.errors import PeftCorrError
from peftcorr.model import Model
from peftcorr.predictions import read_predictions
from tests.commanding import QUICK, Commands
from tests.small_models import SIZE, Small, save_weights


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A small backbone of random weights."""
    weights = save_weights(Small, tmp_path_factory.mktemp("weights") / "small")
    return peftcorr.load(backbone="small", weights=weights, device="cpu")


@pytest.fixture
def image(photograph: Callable[..., Image.Image]) -> Callable[[int], np.ndarray]:
    return lambda seed: np.asarray(photograph(60 + seed, 40, seed))


def of_pairs(commands: Commands, predictor: str) -> tuple[list[dict[str, Any]], Model]:
    """A run's predictions by one predictor, pair by pair, and the model that made them."""
    record = commands.record()
    table = read_predictions(commands.store.predictions_path(record.run_id))
    table = table.filter(pc.starts_with(table["predictor"].cast("string"), predictor))
    pairs: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        pairs.setdefault(row["pair_id"], []).append(row)
    model = peftcorr.load(
        commands.output / record.run_id[:6], weights=commands.weights, predictor=predictor, device="cpu"
    )
    return [
        {
            "source": rows[0]["source_image"],
            "target": rows[0]["target_image"],
            "points": [[row["source_x"], row["source_y"]] for row in rows],
            "found": [[row["prediction_x"], row["prediction_y"]] for row in rows],
            "similarity": np.array([row["similarity"] for row in rows], dtype=np.float32),
        }
        for rows in pairs.values()
    ], model


def test_matches_and_scores_are_the_runs_own(commands: Commands) -> None:
    predictors = ("argmax", "upsampled_argmax", "window_softargmax")
    assert commands.run("--strategy", "lora", "--predictor", *predictors) == 0
    root = commands.photographs / "JPEGImages"
    for predictor in predictors:
        pairs, model = of_pairs(commands, predictor)
        assert len(pairs) > 10
        for pair in pairs:
            points, similarity = model.match(root / pair["source"], root / pair["target"], pair["points"])
            # What is no place in the map moves with the last bit of the similarities, which no product promises.
            apart = 0 if predictor != "window_softargmax" else 1e-4
            np.testing.assert_allclose(points, pair["found"], rtol=0, atol=apart)
            np.testing.assert_allclose(similarity, pair["similarity"], atol=1e-6)
    record = commands.record()
    model = peftcorr.load(record.run_id, output=commands.output, weights=commands.weights, device="cpu")
    assert peftcorr.evaluate(model, root=commands.photographs) == record.scores
    fewer = peftcorr.evaluate(model, "pairs", commands.photographs, alphas=[0.3], limit_pairs=5)
    [by_predictor] = fewer.values()
    assert {scores.n_pairs for scores in by_predictor.values()} == {5}
    assert all(list(scores.per_keypoint) == ["0.3"] for scores in by_predictor.values())
    with pytest.raises(PeftCorrError, match="needs its folder"):
        peftcorr.evaluate(model, "pairs")


@pytest.mark.parametrize(
    ("name", "strategy", "predictor"),
    [
        ("geoaware", "frozen", "argmax"),
        ("sd4match", "lora", "argmax"),
        ("dift", "frozen", "upsampled_argmax"),
    ],
)
def test_a_convention_holds_in_the_library_too(
    commands: Commands, name: str, strategy: str, predictor: str
) -> None:
    """Padding on both sides, pixels as floats, and predictions in the original's own pixels."""
    assert commands.run("--strategy", strategy, assignments=[*QUICK, f"convention={name}"]) == 0
    root, (pairs, model) = commands.photographs / "JPEGImages", of_pairs(commands, predictor)
    for pair in pairs:
        both = root / pair["source"], root / pair["target"]
        points, similarity = model.match(*both, pair["points"])
        np.testing.assert_array_equal(points, pair["found"])
        np.testing.assert_allclose(similarity, pair["similarity"], atol=1e-6)
    if name != "sd4match":
        with pytest.raises(PeftCorrError, match=f"convention {name}"):
            of_pairs(commands, "bilinear_argmax")
    heat = model.heatmap(*both, pair["points"][0])
    y, x = np.unravel_index(int(heat.argmax()), heat.shape)
    cell = model.backbone.stride * max(heat.shape) / SIZE
    assert predictor != "argmax" or np.abs(points[0] - (x, y)).max() < 1.5 * cell
    record = commands.record()
    model = peftcorr.load(record.run_id, output=commands.output, weights=commands.weights, device="cpu")
    assert peftcorr.evaluate(model, root=commands.photographs) == record.scores


def test_200_keypoints_of_willow_are_the_records(
    shared_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shared_root / "data" / "pf-willow"
    if not root.is_dir():
        pytest.skip(f"no PF-Willow: {root} is absent")
    monkeypatch.setenv("PEFTCORR_CACHE", str(tmp_path / "cache"))
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    overrides = {
        "strategy": "frozen",
        "backbone.image_size": 56,
        "dataset": "pf_willow",
        "limit_pairs": 20,
        "predictors": ["argmax"],
    }
    record = peftcorr.train(None, overrides, root=root, output=tmp_path / "out", progress=False)
    model = peftcorr.load(tmp_path / "out" / record.run_id, device="cpu")
    rows = read_predictions(tmp_path / "out" / "predictions" / f"{record.run_id}.parquet").to_pylist()
    assert len(rows) == 200
    [folder] = {path.parents[1] for path in root.rglob(rows[0]["source_image"].split("/")[-1])
                if path.as_posix().endswith(rows[0]["source_image"])}  # fmt: skip
    for start in range(0, 200, 10):
        pair = rows[start : start + 10]
        points, similarity = model.match(
            folder / pair[0]["source_image"],
            folder / pair[0]["target_image"],
            [[row["source_x"], row["source_y"]] for row in pair],
        )
        np.testing.assert_array_equal(points, [[row["prediction_x"], row["prediction_y"]] for row in pair])
        np.testing.assert_allclose(similarity, [row["similarity"] for row in pair], atol=1e-6)


def test_one_against_many_is_encoded_once(model: Model, image: Callable[[int], np.ndarray]) -> None:
    encoder = model.evaluator.encoder
    points = [[5, 6], [30, 20], [59, 39]]
    before = encoder.forwards
    many, similarity = model.match(image(40), [image(41), image(42), image(41), image(40)], points)
    assert encoder.forwards == before + 3, "the one, and two others that differ from it"
    assert (many.shape, similarity.shape) == ((4, 3, 2), (4, 3))
    for place, seed in enumerate((41, 42, 41, 40)):
        alone, peaks = model.match(image(40), image(seed), points)
        np.testing.assert_array_equal(alone, many[place])
        np.testing.assert_allclose(peaks, similarity[place], atol=1e-6)
    assert encoder.forwards == before + 3, "the last images' maps are kept"


def test_points_are_in_the_pixels_of_each_picture(
    model: Model, photograph: Callable[..., Image.Image]
) -> None:
    small = photograph(60, 40)
    large = small.resize((240, 80), Image.Resampling.NEAREST)
    points, similarity = model.match(small, small, [[20, 10]])
    [[x, y]], _ = model.match(small, large, [[20, 10]])
    assert similarity[0] > 0.5
    assert abs((x + 0.5) / 4 - (points[0, 0] + 0.5)) <= 60 / 4
    assert abs((y + 0.5) / 2 - (points[0, 1] + 0.5)) <= 40 / 4
    assert (points.dtype, similarity.dtype) == (np.float64, np.float32)


def test_a_heat_map_has_its_peak_where_the_match_is(model: Model, image: Callable[[int], np.ndarray]) -> None:
    heat = model.heatmap(image(0), image(7), [20, 10])
    assert (heat.shape, heat.dtype) == ((40, 67), np.float32)
    points, similarity = model.match(image(0), image(7), [[20, 10]])
    x, y = points[0]
    # The peak is a cell's centre, which lies between pixels: those round it are nearly as similar.
    assert heat.max() <= similarity[0] + 1e-6
    rows, columns = np.nonzero(heat >= heat.max() - 1e-6)  # at the border all are clamped to one
    assert np.hypot(columns - x, rows - y).min() < 1.5
    both = model.heatmap(image(0), image(7), [[20, 10], [50, 30]])
    np.testing.assert_array_equal(both[0], heat)
    assert both.shape == (2, 40, 67)


def test_features_are_the_backbones(model: Model, image: Callable[[int], np.ndarray]) -> None:
    features = model.features([image(0), image(1)])
    assert features.shape == (2, 32, SIZE // 8, SIZE // 8)
    assert (features.dtype, features.requires_grad) == (torch.float32, False)
    torch.testing.assert_close(model.features(image(1)), features[1:])
    lengths = features.norm(dim=1)
    assert (lengths - 1).abs().max() > 0.1, "they are not normalised"


def test_no_points_and_many_points(model: Model, image: Callable[[int], np.ndarray]) -> None:
    points, similarity = model.match(image(0), image(1), np.zeros((0, 2)))
    assert (points.shape, similarity.shape) == ((0, 2), (0,))
    grid = np.stack(np.meshgrid(np.arange(60), np.arange(40)), -1).reshape(-1, 2)
    points, similarity = model.match(image(0), image(1), grid)
    assert (points.shape, similarity.shape) == ((2400, 2), (2400,))
    one, _ = model.match(image(0), image(1), grid[777:778])
    np.testing.assert_array_equal(points[777], one[0])
    points, similarity = model.match(image(0), [], grid[:3])
    assert (points.shape, similarity.shape) == ((0, 3, 2), (0, 3))


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([[1, 2], [60.6, 3]], r"points_a\[1\] is \(60.6, 3\), outside of its image, which is 60 x 40 pixels"),
        ([[1, -0.6]], r"points_a\[0\] is \(1, -0.6\), outside"),
        ([[float("nan"), 2]], r"points_a\[0\] is \(nan, 2\), outside"),
        ([1, 2], r"points_a has the shape \(2,\): give \(N, 2\)"),
        ([[1, 2, 3]], r"the shape \(1, 3\)"),
        ([["a", "b"]], "points_a is .*: give numbers"),
        ([[1, 2], [3]], "points_a is .*: give numbers"),
    ],
)
def test_points_that_are_none_are_one_sentence(
    model: Model, image: Callable[[int], np.ndarray], points: Any, said: str
) -> None:
    with pytest.raises(PeftCorrError, match=said):
        model.match(image(0), image(1), points)


def test_a_backbone_whose_prompt_names_the_object_asks_for_it(
    model: Model, image: Callable[[int], np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[list[str]] = []
    monkeypatch.setattr(model.backbone, "uses_categories", True)
    monkeypatch.setattr(model.backbone, "condition", lambda categories: told.append(list(categories)))
    with pytest.raises(PeftCorrError, match="give category, as in category='cat'"):
        model.match(image(0), image(1), [[1, 2]])
    model.match(image(11), image(12), [[1, 2]], category="cat")
    assert told == [["cat", "cat"]]
    model.features([image(0), image(1)], categories=["cat", "dog"])
    assert told[-1] == ["cat", "dog"]
    with pytest.raises(PeftCorrError, match="2 images, but 1 categories"):
        model.features([image(0), image(1)], categories=["cat"])


def test_threads_may_share_a_model(model: Model, image: Callable[[int], np.ndarray]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def one(seed: int) -> np.ndarray:
        return model.match(image(seed), image(seed + 1), [[5, 6], [30, 20]])[0]

    expected = [one(seed) for seed in range(20, 28)]
    model.evaluator.cache._kept.clear()  # type: ignore[union-attr]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(one, range(20, 28)))
    np.testing.assert_array_equal(found, expected)


def test_plain_settings_of_load(tmp_path: Path, commands: Commands) -> None:
    weights = commands.weights
    assert (
        peftcorr.load(backbone="small", weights=str(weights), image_size=64).backbone.config.image_size == 64
    )
    window = {"name": "window_softargmax", "radius": 1}
    found = peftcorr.load(backbone={"name": "small"}, weights=weights, predictor=window)
    assert found.recipe.predictors == [{"name": "window_softargmax", "radius": 1, "temperature": 10.0}]
    assert os.fspath(found.bench.output) == "runs"
    for wrong, said in (
        ({"backbone": "smal"}, "Unknown backbone 'smal'. Did you mean 'small'"),
        ({"backbone": "small", "predictor": "argmix"}, "Did you mean 'argmax'"),
        ({"backbone": "small", "device": "tpu"}, "There is no device 'tpu' here"),
        ({"backbone": "small", "predictor": "tuned", "output": tmp_path}, "has no setting for small"),
        ({"backbone": "small", "run": "x"}, "both was given"),
        ({}, "neither was given"),
        ({"run": "x", "image_size": 3}, "leave image_size out"),
    ):
        with pytest.raises(PeftCorrError, match=said):
            peftcorr.load(**{"weights": weights, **wrong})  # type: ignore[arg-type]
    assert BACKBONES.get("small") is Small

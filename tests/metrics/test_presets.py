"""Every preset and aggregate against plain Python: one keypoint at a time, lists and math alone."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from peftcorr.errors import PeftCorrError
from peftcorr.metrics.aggregate import aggregate, score_predictions
from peftcorr.metrics.presets import PRESETS, Preset, ScoringFrame, preset_named
from peftcorr.predictions import PREDICTION_SCHEMA

ALPHAS = [0.01, 0.05, 0.1, 0.2]
# name -> categories, pairs, keypoints a pair, what s belongs to: as datasets differ
DATASETS = {
    "spair-like": (["cat", "train", "tvmonitor"], 70, (1, 20), "box"),
    "pf_willow-like": (["car(G)", "duck(S)"], 40, (10, 10), "keypoints"),
    "pf_pascal-like": (["boat"], 30, (2, 8), "image"),
}


def random_rows(seed: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    rows = []
    for dataset, (categories, pairs, (fewest, most), what) in DATASETS.items():
        for pair in range(pairs):
            width, height = draw.randint(80, 900), draw.randint(80, 900)
            whole = [0, 0]
            category, count = draw.choice(categories), max(fewest, draw.randint(fewest, most))
            truths = [(draw.uniform(-9, width), draw.uniform(0, height)) for _ in range(count)]
            if what == "box":
                sides = draw.uniform(0.2, 1) * width, draw.uniform(0.2, 1) * height
            elif what == "keypoints":
                xs, ys = zip(*truths, strict=True)
                sides = max(xs) - min(xs), max(ys) - min(ys)
                whole = [math.floor(max(axis)) - math.floor(min(axis)) for axis in (xs, ys)]
            else:
                sides = float(width), float(height)
            for number, (x, y) in enumerate(truths):
                for predictor in ("argmax", "window"):
                    angle, shift = draw.uniform(0, math.tau), draw.expovariate(1 / (0.12 * max(sides)))
                    rows.append(
                        {
                            "dataset": dataset, "split": "test", "predictor": predictor, "pair": pair,
                            "pair_id": f"{pair}:{category}", "category": category, "source_image": "a.jpg",
                            "target_image": f"{pair}.jpg", "keypoint_id": str(number), "source_x": 1.0,
                            "source_y": 2.0, "truth_x": x, "truth_y": y,
                            "prediction_x": x + shift * math.cos(angle),
                            "prediction_y": y + shift * math.sin(angle),
                            "reference_length": max(sides), "target_width": width, "target_height": height,
                            "reference_width": sides[0], "reference_height": sides[1], "backwards": True,
                            "whole_sides": whole,
                        }
                    )  # fmt: skip
    draw.shuffle(rows)
    return rows


def is_correct(row: dict[str, Any], preset: str, alpha: float) -> bool:
    """In the frame itself: points are moved there one by one, by each system's own rule."""
    width, height = row["target_width"], row["target_height"]
    if preset in ("peftcorr", "dift"):
        move = lambda x, y: (x, y)  # noqa: E731
        length = row["reference_length"]
    elif preset == "geoaware":
        scale = 840 / max(width, height)
        left, top = (840 - width * scale) / 2, (840 - height * scale) / 2
        move = lambda x, y: (x * scale + left, y * scale + top)  # noqa: E731
        length = row["reference_length"] * scale
    elif preset in ("sd4match", "cats"):
        size = {"sd4match": 768, "cats": 256}[preset]
        move = lambda x, y: ((x + 0.5) * size / width - 0.5, (y + 0.5) * size / height - 0.5)  # noqa: E731
        length = max(row["reference_width"] * size / width, row["reference_height"] * size / height)
    elif preset == "visual_ai":
        return is_correct_corner_to_corner(row, alpha)
    else:
        assert preset == "marco"
        longest, last = max(width, height), (770, 770)
        if row["dataset"].startswith("pf_pascal"):
            last = (round(width * 770 / longest), round(height * 770 / longest))
        move = lambda x, y: (x * last[0] / width, y * last[1] / height)  # noqa: E731
        length = max(row["reference_width"] * 770 / width, row["reference_height"] * 770 / height)
        if row["dataset"].startswith("pf_pascal"):
            length = row["reference_length"] * 770 / longest
    x1, y1 = move(row["prediction_x"], row["prediction_y"])
    x2, y2 = move(row["truth_x"], row["truth_y"])
    if preset == "marco":
        x2, y2 = (min(max(v, 1e-4), side - 1 - 1e-4) for v, side in zip((x2, y2), last, strict=True))
    distance = math.sqrt((x1 - x2) ** 2 + (y1 - y2) ** 2)
    return distance < alpha * length if preset == "geoaware" else distance <= alpha * length


def is_correct_corner_to_corner(row: dict[str, Any], alpha: float) -> bool:
    """Visual-AI: the corner pixels' centres meet, and two datasets' keypoints are whole."""
    x, y = row["truth_x"], row["truth_y"]
    scale = 839 / (row["target_width"] - 1), 839 / (row["target_height"] - 1)
    sides = row["reference_width"], row["reference_height"]
    if row["dataset"].startswith("pf_"):
        x, y = math.floor(x), math.floor(y)
    if row["dataset"].startswith("pf_willow"):
        sides = row["whole_sides"]
    length = max(side * s for side, s in zip(sides, scale, strict=True))
    if row["dataset"].startswith("pf_pascal"):
        length = 840
    truth = [min(max(v * s, 1e-4), 839 - 1e-4) for v, s in zip((x, y), scale, strict=True)]
    found = [row[f"prediction_{axis}"] * s for axis, s in zip("xy", scale, strict=True)]
    return math.dist(truth, found) <= alpha * length


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def brute_force(rows: list[dict[str, Any]], preset: str, alpha: float) -> dict[str, float]:
    pairs: dict[int, list[float]] = {}
    category_of: dict[int, str] = {}
    for row in rows:
        pairs.setdefault(row["pair"], []).append(1.0 if is_correct(row, preset, alpha) else 0.0)
        category_of[row["pair"]] = row["category"]
    of_keypoints, of_images = [], []
    for category in sorted(set(category_of.values())):
        members = [hits for pair, hits in pairs.items() if category_of[pair] == category]
        of_keypoints.append(mean([hit for hits in members for hit in hits]))
        of_images.append(mean([mean(hits) for hits in members]))
    return {
        "per_keypoint": 100 * mean([hit for hits in pairs.values() for hit in hits]),
        "per_image": 100 * mean([mean(hits) for hits in pairs.values()]),
        "category_mean_per_keypoint": 100 * mean(of_keypoints),
        "category_mean_per_image": 100 * mean(of_images),
    }


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("seed", range(4))
def test_every_aggregate_equals_the_one_by_hand(seed: int, preset: str) -> None:
    rows = random_rows(seed)
    found = score_predictions(pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA), ALPHAS, PRESETS[preset])
    assert set(found) == {f"{name}/test" for name in DATASETS}
    for dataset in DATASETS:
        for predictor in ("argmax", "window"):
            own = [row for row in rows if (row["dataset"], row["predictor"]) == (dataset, predictor)]
            aggregates = found[f"{dataset}/test"][predictor].aggregates()
            for alpha in ALPHAS:
                expected = brute_force(own, preset, alpha)
                assert set(aggregates) == set(expected)
                for name, value in expected.items():
                    assert aggregates[name][f"{alpha:g}"] == pytest.approx(value, abs=1e-12), (dataset, name)


def test_the_presets_differ_on_images_that_are_not_square() -> None:
    rows = random_rows(0)
    table = pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA)
    scores = {name: score_predictions(table, [0.1], preset) for name, preset in PRESETS.items()}
    assert scores["peftcorr"] == scores["dift"] == score_predictions(table, [0.1])
    one = {name: found["spair-like/test"]["argmax"].per_keypoint["0.1"] for name, found in scores.items()}
    assert abs(one["sd4match"] - one["peftcorr"]) > 0.5


def correct(preset: str, offset: tuple[float, float], **change: Any) -> bool:
    values: dict[str, Any] = {
        "predictions": [[100 + offset[0], 60 + offset[1]]],
        "references": [[100.0, 60.0]],
        "reference_lengths": [50.0],
        "pairs": [0],
        "categories": ["cat"],
        "alphas": [0.1],
        "preset": PRESETS[preset],
        "sizes": [[384, 768, 50.0, 40.0]],
    }
    return aggregate(**{**values, **change}).per_keypoint["0.1"] == 100.0


def test_a_distance_of_exactly_alpha_times_s() -> None:
    """3-4-5: five pixels off at s = 50 and alpha 0.1."""
    for preset, expected in (("peftcorr", True), ("dift", True), ("geoaware", False)):
        assert correct(preset, (3.0, 4.0)) is expected
        assert correct(preset, (3.0, 3.9999999)) is True
        assert correct(preset, (3.0, 4.0000001)) is False


@pytest.mark.parametrize("size", [(840, 840), (500, 375), (333, 211), (97, 640)])
def test_an_isotropic_frame_rounds_nothing(size: tuple[int, int]) -> None:
    assert correct("geoaware", (3.0, 4.0), sizes=[(*size, 50, 40)]) is False
    assert correct("geoaware", (3.0, 3.9999999), sizes=[(*size, 50, 40)]) is True


def test_the_stretched_frame_accepts_an_ellipse() -> None:
    """384 x 768 becomes 768 x 768: x counts twice. s = 100 there, so 5 px are allowed along x and 10 along y."""
    for offset, expected in (
        ((5.0, 0.0), True),  # on the edge
        ((5.0000001, 0.0), False),
        ((0.0, 10.0), True),
        ((0.0, 10.0000001), False),
        ((3.0, 8.0), True),  # (6, 8) in the frame: exactly 10
        ((3.0, 8.0000001), False),
        ((0.0, 7.0), True),  # too far for the circle of the original frame
    ):
        assert correct("sd4match", offset) is expected, offset
    assert correct("peftcorr", (0.0, 7.0)) is False


def test_s_is_the_side_that_is_longer_once_stretched() -> None:
    """A box of 40 x 50 is taller, but in the frame it measures 80 x 50."""
    box = {"sizes": [[384, 768, 40.0, 50.0]]}
    assert correct("sd4match", (4.0, 0.0), **box) is True
    assert correct("sd4match", (4.0000001, 0.0), **box) is False
    assert correct("sd4match", (0.0, 8.0), **box) is True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": None}, "'sd4match' needs sizes"),
        ({"sizes": [[0, 5, 50, 40]]}, "target size is no positive number in pair 0"),
        ({"sizes": [[math.inf, 5, 50, 40]]}, "target size is no positive number"),
        ({"sizes": [[5, 5, 0.0, 0.0]]}, "reference rectangle has no size in pair 0"),
        ({"sizes": [[5, 5, math.nan, 1.0]]}, "reference rectangle has no size"),
        ({"sizes": [[5, 5, 5, 5], [5, 5, 5, 5]]}, "differ in number"),
        ({"sizes": [[5, 5]]}, r"sizes must have the shape \(N, 4\)"),
    ],
)
def test_bad_sizes_give_one_clear_sentence(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PeftCorrError, match=message):
        correct("sd4match", (0.0, 0.0), **change)
    assert correct("geoaware", (0.0, 0.0), **change) is True  # it never looks at them


@pytest.mark.parametrize("column", ["target_height", "reference_width"])
@pytest.mark.parametrize("how", ["null", "absent"])
def test_predictions_without_sizes_say_what_to_do(column: str, how: str) -> None:
    rows = [row for row in random_rows(1) if row["dataset"] == "spair-like"]
    if how == "null":
        rows[3][column] = None
    table = pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA)
    if how == "absent":
        table = table.drop_columns([column])
    kind = column.partition("_")[0]
    reason = {"target": "run again", "reference": "box, image or keypoints"}[kind]
    with pytest.raises(
        PeftCorrError, match=rf"needs {kind}_width and {kind}_height, but .*spair-like/test"
    ) as caught:
        score_predictions(table, ALPHAS, PRESETS["sd4match"])
    assert "score them with peftcorr, dift, geoaware" in str(caught.value)
    assert reason in str(caught.value)
    for name in ("peftcorr", "dift", "geoaware"):
        score_predictions(table, ALPHAS, PRESETS[name])


def test_cats_wants_predictions_from_target_to_source() -> None:
    rows = [row for row in random_rows(1) if row["dataset"] == "spair-like"]
    for made in (False, None):
        table = pa.Table.from_pylist([{**row, "backwards": made} for row in rows], schema=PREDICTION_SCHEMA)
        with pytest.raises(PeftCorrError, match=r"'cats' looks for .* run with --set preset=cats"):
            score_predictions(table, ALPHAS, PRESETS["cats"])


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(PeftCorrError, match=r"Unknown preset 'sd4mach'\. Did you mean 'sd4match'\?"):
        preset_named("sd4mach")
    with pytest.raises(PeftCorrError, match=r"Unknown preset 7"):
        preset_named(7)


def test_definitions_are_what_records_keep() -> None:
    """A changed word would part the leaderboard's tables: these are fixed."""
    assert {name: (str(p.frame), p.comparator) for name, p in PRESETS.items()} == {
        "peftcorr": ("original image", "<="),
        "dift": ("original image", "<="),
        "geoaware": ("longer side scaled to 840 px, then padded", "<"),
        "sd4match": ("stretched to 768 x 768 px", "<="),
        "visual_ai": ("stretched to 840 x 840 px, corner to corner", "<="),
        "marco": ("stretched to 770 x 770 px", "<="),
        "cats": ("stretched to 256 x 256 px", "<="),
    }
    for preset in PRESETS.values():
        assert Preset.model_validate_json(preset.model_dump_json()) == preset
    assert json.loads(PRESETS["peftcorr"].model_dump_json()) == {
        "name": "peftcorr",
        "source": "peftcorr's protocol",
        "frame": {"kind": "original", "size": None},
        "comparator": "<=",
        "normaliser": "the dataset's reference length",
        "reports": ["per_keypoint", "per_image", "category_mean_per_keypoint", "category_mean_per_image"],
    }
    assert json.loads(PRESETS["sd4match"].model_dump_json())["frame"] == {"kind": "stretched", "size": 768}
    with pytest.raises(ValidationError):
        PRESETS["dift"].comparator = "<"  # type: ignore[misc]


@pytest.mark.parametrize(("kind", "size"), [("original", 5), ("isotropic", None), ("stretched", 0)])
def test_a_frame_has_the_size_that_its_kind_needs(kind: Any, size: int | None) -> None:
    with pytest.raises(ValidationError):
        ScoringFrame(kind=kind, size=size)

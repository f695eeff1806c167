"""Rows of predictions: one of each correspondence and predictor, with everything that any score needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from peftcorr.engine.evaluate import Predicted, Split
from peftcorr.engine.prediction_table import prediction_table
from peftcorr.predictions import PREDICTION_SCHEMA
from tests.engine.building import load_split
from tests.engine.test_evaluate import evaluate
from tests.small_models import Small, build


def peaks_of(split: Split) -> np.ndarray:
    return np.linspace(0, 1, len(split.data), dtype=np.float32)


def test_the_table_has_a_row_for_every_prediction(
    photographs: Path, small_weights: Path, tmp_path: Path
) -> None:
    split, backbone = load_split(photographs, tmp_path, "test"), build(Small, small_weights)
    found, _ = evaluate(split, backbone)
    peaks = peaks_of(split)
    table = prediction_table(split, Predicted(found, peaks), ["argmax", "window"])
    assert table.column("similarity").to_pylist() == 2 * peaks.tolist()
    assert table.column("target_occluded").null_count == len(table)
    assert table.schema == PREDICTION_SCHEMA
    rows = table.to_pylist()
    assert len(rows) == 2 * len(split.data)
    assert [row["predictor"] for row in rows] == ["argmax"] * len(split.data) + ["window"] * len(split.data)
    expected = [
        (pair["pair_id"], identity, *point, *truth, pair["reference_length"])
        for pair in split.dataset.table
        for identity, point, truth in zip(
            pair["keypoint_ids"], pair["source_keypoints"], pair["target_keypoints"], strict=True
        )
    ]
    names = ("pair_id", "keypoint_id", "source_x", "source_y", "truth_x", "truth_y", "reference_length")
    assert [tuple(row[name] for name in names) for row in rows[: len(split.data)]] == expected
    assert (rows[3]["prediction_x"], rows[3]["prediction_y"]) == tuple(found[0, 3])
    factors = ("viewpoint_variation", "scale_variation", "truncation", "occlusion")
    given = {pair["pair_id"]: [pair[name] for name in factors] for pair in split.dataset.table}
    assert all([row[name] for name in factors] == given[row["pair_id"]] for row in rows)


def test_the_table_tells_target_sizes_and_what_s_belongs_to(
    photographs: Path, small_weights: Path, tmp_path: Path
) -> None:
    split, backbone = load_split(photographs, tmp_path, "test"), build(Small, small_weights)
    found, _ = evaluate(split, backbone)
    decodes = split.store.decodes
    for row in prediction_table(split, Predicted(found, peaks_of(split)), ["argmax", "window"]).to_pylist():
        size = (row["target_width"], row["target_height"])
        assert size == Image.open(split.dataset.image_root / row["target_image"]).size
        # The boxes of these photographs leave a margin of 1 and 2 pixels.
        assert (row["reference_width"], row["reference_height"]) == (size[0] - 3, size[1] - 3)
        assert row["reference_length"] == max(size) - 3
    assert split.store.decodes == decodes


def test_a_length_that_belongs_to_nothing_leaves_its_sides_empty(
    photographs: Path, small_weights: Path, tmp_path: Path
) -> None:
    split = load_split(photographs, tmp_path, "test")
    odd = replace(split, data=replace(split.data, reference_length=split.data.reference_length + 0.5))
    table = prediction_table(odd, Predicted(np.zeros((1, len(odd.data), 2)), peaks_of(odd)), ["argmax"])
    assert (
        table.column("reference_width").null_count
        == table.column("reference_height").null_count
        == len(table)
    )
    assert table.column("target_width").null_count == 0

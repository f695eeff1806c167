"""Predictions made by hand or drawn, as rows of the predictions file."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from peftcorr.predictions import PREDICTION_SCHEMA, write_predictions

Row = dict[str, Any]


def row(**change: Any) -> Row:
    """One prediction that is right to the pixel, of a pair from a.jpg to b.jpg; `change` sets any column."""
    return {
        "dataset": "farm",
        "split": "test",
        "predictor": "argmax",
        "pair": 0,
        "pair_id": "0",
        "category": "cat",
        "source_image": "a.jpg",
        "target_image": "b.jpg",
        "keypoint_id": "0",
        "source_x": 0.0,
        "source_y": 0.0,
        "truth_x": 50.0,
        "truth_y": 50.0,
        "prediction_x": 50.0,
        "prediction_y": 50.0,
        "reference_length": 100.0,
        **change,
    }


def drawn(
    seed: int, images: dict[str, int], share: float = 1.0, keypoints: int = 6, **change: Any
) -> list[Row]:
    """All ordered pairs of so many images a category, or a random part, with one to `keypoints` keypoints each."""
    draw = random.Random(seed)
    places = random.Random(0)  # the same keypoints whatever the seed of the predictions
    rows: list[Row] = []
    ease = {(category, i): draw.uniform(0.3, 2.0) for category in images for i in range(images[category])}
    pair = 0
    for category, number in images.items():
        for source in range(number):
            for target in range(number):
                keep = places.random() < share
                if source == target or not keep:
                    continue
                for keypoint in range(places.randint(1, keypoints)):
                    x, y = places.uniform(0, 300), places.uniform(0, 300)
                    off = draw.expovariate(1 / 10) * ease[category, source] * ease[category, target]
                    rows.append(
                        row(
                            pair=pair,
                            pair_id=f"{pair:05d}:{category}",
                            category=category,
                            source_image=f"{category}/{source}.jpg",
                            target_image=f"{category}/{target}.jpg",
                            keypoint_id=str(keypoint),
                            source_x=float(keypoint),
                            truth_x=x,
                            truth_y=y,
                            prediction_x=x + off,
                            prediction_y=y,
                            viewpoint_variation=pair % 3,
                            truncation=pair % 4,
                            **change,
                        )
                    )
                pair += 1
    return rows


def table(rows: Sequence[Row]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=PREDICTION_SCHEMA)


def written(rows: Sequence[Row], output: Path, run_id: str) -> Path:
    """Write the predictions of a run below an output folder."""
    path = output / "predictions" / f"{run_id}.parquet"
    write_predictions(table(rows), path)
    return path

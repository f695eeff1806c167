"""Predictions of a split as the rows that a run keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from peftcorr.data.base import FACTORS
from peftcorr.data.reference import reference_sides
from peftcorr.engine.evaluate import Predicted, Split
from peftcorr.predictions import PREDICTION_SCHEMA, SIZE_COLUMNS


def prediction_table(split: Split, predicted: Predicted, labels: Sequence[str]) -> pa.Table:
    """Predictions of a split as rows of `PREDICTION_SCHEMA`, predictor by predictor.

    Names are written as codes from the start: a column of 88,328 strings would take longer than the matching.
    """
    data = split.data
    rows = len(data)
    images = pa.array(data.images, pa.string())
    category, category_code = np.unique(data.categories, return_inverse=True)
    source, target = data.source[data.pair], data.target[data.pair]
    sizes = split.store.sizes(data.images, data.sizes)
    sides = reference_sides(data, sizes)[data.pair]
    shared = {
        "dataset": _coded(np.zeros(rows), [split.dataset.name]),
        "split": _coded(np.zeros(rows), [split.dataset.split]),
        "pair": data.pair,
        "pair_id": _coded(data.pair, data.pair_ids),
        "category": _coded(category_code[target], category),
        "source_image": _coded(source, images),
        "target_image": _coded(target, images),
        "keypoint_id": _coded(data.keypoint, data.keypoint_names),
        "source_x": data.source_points[:, 0],
        "source_y": data.source_points[:, 1],
        "truth_x": data.target_points[:, 0],
        "truth_y": data.target_points[:, 1],
        "reference_length": data.reference_length[data.pair],
        "target_width": sizes[target, 0],
        "target_height": sizes[target, 1],
        "reference_width": sides[:, 0],
        "reference_height": sides[:, 1],
        "target_occluded": data.occluded,
        "backwards": np.full(rows, split.backwards),
        "similarity": predicted.peaks,
    }
    shared = {name: _column(name, column, rows) for name, column in shared.items()}
    for name in FACTORS:
        factor = data.factors.get(name)
        shared[name] = pa.nulls(rows, pa.int8()) if factor is None else factor.take(pa.array(data.pair))
    parts = []
    for label, points in zip(labels, predicted.points, strict=True):
        columns = {
            **shared,
            "predictor": _coded(np.zeros(rows), [label]),
            "prediction_x": pa.array(points[:, 0]),
            "prediction_y": pa.array(points[:, 1]),
        }
        parts.append(pa.table([columns[name] for name in PREDICTION_SCHEMA.names], schema=PREDICTION_SCHEMA))
    return pa.concat_tables(parts)


def _column(name: str, values: Any, rows: int) -> pa.Array:
    if isinstance(values, pa.DictionaryArray):
        return values
    kind = PREDICTION_SCHEMA.field(name).type
    if values is None:
        return pa.nulls(rows, kind)
    return pa.array(values, kind, from_pandas=name in SIZE_COLUMNS)  # NaN is a size that is not known


def _coded(codes: NDArray[Any], names: Any) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names, pa.string()))

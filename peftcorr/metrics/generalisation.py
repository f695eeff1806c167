"""Seen and unseen apart: PCK of a test split by whether the training was shown a keypoint, or its category at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from peftcorr.metrics.aggregate import score_predictions
from peftcorr.metrics.bootstrap import add_intervals
from peftcorr.metrics.presets import PEFTCORR, Preset
from peftcorr.metrics.rows import coded, visible, with_whole_boxes
from peftcorr.metrics.scores import Generalisation, Part

PARTS: tuple[Part, ...] = ("seen", "unseen_keypoints", "unseen_categories")


def generalisation(
    table: pa.Table,
    keypoints: Mapping[str, Sequence[str]],
    categories: Sequence[str],
    alphas: Sequence[float],
    preset: Preset = PEFTCORR,
) -> dict[str, Generalisation]:
    """Score each part of some predictions by itself, with intervals.

    The pairs of a part are those that have a keypoint of it, and count with these keypoints alone.

    Args:
        table: columns of `peftcorr.predictions.PREDICTION_SCHEMA`.
        keypoints: by category, those that the training was not shown.
        categories: of which it was shown nothing.
        alphas: thresholds as a share of the reference length.
        preset: when a keypoint is correct.

    Returns:
        by "<dataset>/<split>".

    Raises:
        PeftCorrError: as `peftcorr.metrics.aggregate.aggregate`.
    """
    found: dict[str, Generalisation] = {}
    for part, rows in parted(with_whole_boxes(visible(table), preset), keypoints, categories):
        scores = score_predictions(rows, alphas, preset)
        add_intervals(scores, rows, alphas, preset)
        for split, predictors in scores.items():
            whole = found.setdefault(
                split,
                Generalisation(
                    keypoints={name: list(names) for name, names in keypoints.items()},
                    categories=list(categories),
                    scores={},
                ),
            )
            for predictor, own in predictors.items():
                whole.scores.setdefault(predictor, {})[part] = own
    return found


def parted(
    table: pa.Table, keypoints: Mapping[str, Sequence[str]], categories: Sequence[str]
) -> Iterator[tuple[Part, pa.Table]]:
    """The visible rows of each part that has any, in the order of `PARTS`."""
    rows = visible(table)
    where = part_of(rows, keypoints, categories)
    for number, part in enumerate(PARTS):
        if (where == number).any():
            yield part, rows.filter(pa.array(where == number))


def part_of(
    rows: pa.Table, keypoints: Mapping[str, Sequence[str]], categories: Sequence[str]
) -> NDArray[np.int64]:
    """Which of `PARTS` each row of a table is of, (N,)."""
    names, category = coded(rows, "category")
    ids, keypoint = coded(rows, "keypoint_id")
    place = {name: number for number, name in enumerate(ids)}
    part = np.zeros((len(names), max(1, len(ids))), dtype=np.int64)
    for number, name in enumerate(names):
        part[number, [place[k] for k in keypoints.get(name, ()) if k in place]] = 1
        if name in categories:
            part[number] = 2
    return part[category, keypoint]

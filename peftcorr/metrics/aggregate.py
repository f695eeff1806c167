"""From predicted keypoints to PCK: per keypoint, per image, per category, at any list of thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from peftcorr.errors import PeftCorrError, shown
from peftcorr.metrics.presets import PEFTCORR, Preset
from peftcorr.metrics.rows import Floats, Integers, codes, frame_sizes, groups, points, sums, visible
from peftcorr.metrics.scores import CategoryMean, CategoryScores, Scores


def alpha_key(alpha: float) -> str:
    """Return the key of a threshold in the dictionaries of `Scores`: ``0.1`` gives ``"0.1"``."""
    return f"{alpha:g}"


def aggregate(
    predictions: ArrayLike,
    references: ArrayLike,
    reference_lengths: ArrayLike,
    pairs: ArrayLike,
    categories: ArrayLike | pa.ChunkedArray,
    alphas: Sequence[float],
    pair_names: Sequence[Any] | NDArray[Any] | None = None,
    preset: Preset = PEFTCORR,
    sizes: ArrayLike | None = None,
    dataset: str = "",
) -> Scores:
    """Score N keypoints of one predictor on one split.

    A keypoint is correct when its distance to the truth is at most ``alpha * reference_length``, in float64, or as
    the preset says. The result does not depend on the order of the keypoints, to the last bit.

    Args:
        predictions: (N, 2) x, y in pixels of the original target image.
        references: (N, 2) annotated x, y in the same pixels.
        reference_lengths: (N,) the length s of the protocol, pixels.
        pairs: (N,) identifies the pair of each keypoint; the field's "image" is a pair.
        categories: (N,) name of the category of each keypoint's pair.
        alphas: thresholds as a share of the reference length.
        pair_names: (N,) what an error calls the pair; `pairs` when None.
        preset: when a keypoint is correct.
        sizes: (N, 4) W, H of the original target image, then width and height of the rectangle whose longer side the
            reference length is; for presets that need sizes.
        dataset: name of the dataset, by which a preset may differ.

    Raises:
        PeftCorrError: if there is nothing to score, a number is not finite, a reference length or a size is not
            positive, the inputs differ in length, the keypoints of one pair carry two categories, or the preset
            needs sizes and there are none.
    """
    _check_alphas(alphas)
    predicted, truth = _array(predictions, "predictions", 2), _array(references, "references", 2)
    if preset.needs_sizes and sizes is None:
        raise PeftCorrError(f"The preset {shown(preset.name)} needs sizes.")
    frame = None if sizes is None or not preset.needs_sizes else _array(sizes, "sizes", 4)
    lengths = np.asarray(reference_lengths, dtype=np.float64).reshape(-1)
    pair_of = np.asarray(pairs).reshape(-1)
    category_names, category_index = _codes(categories)
    parts = (predicted, truth, lengths, pair_of, category_index, *([] if frame is None else [frame]))
    numbers = {len(part) for part in parts}
    if len(numbers) != 1:
        raise PeftCorrError(
            f"Predictions, references, lengths, pairs, categories and sizes differ in number: {numbers}."
        )
    if not len(predicted):
        raise PeftCorrError("There are no keypoints to score.")
    names = pair_of if pair_names is None else pair_names
    _check_values(np.isfinite(predicted).all(axis=1), "prediction is not finite", names)
    _check_values(np.isfinite(truth).all(axis=1), "annotated keypoint is not finite", names)
    _check_values(np.isfinite(lengths) & (lengths > 0), "reference length is no positive number", names)
    if frame is not None:
        target, sides = np.where(np.isfinite(frame), frame, -1.0).reshape(-1, 2, 2).swapaxes(0, 1)
        _check_values((target > 0).all(axis=1), "target size is no positive number", names)
        good = (sides >= 0).all(axis=1) & (sides > 0).any(axis=1)
        _check_values(good, "reference rectangle has no size", names)

    correct = within(predicted, truth, lengths, alphas, preset, frame, dataset)

    pair_index = _codes(pair_of)[1]
    n_pairs, n_categories = int(pair_index.max()) + 1, len(category_names)
    category_of_pair = np.empty(n_pairs, dtype=np.int64)
    category_of_pair[pair_index] = category_index
    _check_values(category_of_pair[pair_index] == category_index, "pair has two categories", names)

    keypoints_of_pair = np.bincount(pair_index, minlength=n_pairs)
    share = sums(correct, pair_index, n_pairs) / keypoints_of_pair  # (A, pairs)
    keypoints_in = np.bincount(category_index, minlength=n_categories)
    pairs_in = np.bincount(category_of_pair, minlength=n_categories)
    by_keypoint = sums(correct, category_index, n_categories) / keypoints_in  # (A, categories)
    by_image = sums(share, category_of_pair, n_categories) / pairs_in

    def percent(values: Floats) -> dict[str, float]:
        return {alpha_key(alpha): 100.0 * float(value) for alpha, value in zip(alphas, values, strict=True)}

    return Scores(
        per_keypoint=percent(correct.mean(axis=1)),
        per_image=percent(share.mean(axis=1)),
        per_category={
            str(name): CategoryScores(
                per_keypoint=percent(by_keypoint[:, index]),
                per_image=percent(by_image[:, index]),
                n_pairs=int(pairs_in[index]),
                n_keypoints=int(keypoints_in[index]),
            )
            for index, name in enumerate(category_names)
        },
        category_mean=CategoryMean(
            per_keypoint=percent(by_keypoint.mean(axis=1)), per_image=percent(by_image.mean(axis=1))
        ),
        n_pairs=n_pairs,
        n_keypoints=len(predicted),
    )


def within(
    predicted: Floats,
    truth: Floats,
    lengths: Floats,
    alphas: Sequence[float],
    preset: Preset = PEFTCORR,
    sizes: Floats | None = None,
    dataset: str = "",
) -> NDArray[np.bool_]:
    """Which keypoints (N, 2) are correct at each threshold, (A, N): the one place where PCK compares.

    Args:
        predicted, truth: (N, 2) x, y in pixels of the original target image.
        lengths: (N,) reference length in the same pixels.
        alphas: thresholds, A of them.
        preset: the definition of correct.
        sizes: (N, 4), where the preset needs them, as `Preset.measure` takes them.
        dataset: name of the dataset.
    """
    distance, lengths = preset.measure(predicted, truth, lengths, sizes, dataset)
    return preset.correct(distance, np.asarray(alphas, dtype=np.float64)[:, None] * lengths)


def score_predictions(
    table: pa.Table, alphas: Sequence[float], preset: Preset = PEFTCORR
) -> dict[str, dict[str, Scores]]:
    """Score every dataset, split and predictor of a predictions table.

    Keypoints that the target hides are left out: their truth is no place in the image.

    Args:
        table: columns of `peftcorr.predictions.PREDICTION_SCHEMA`.
        alphas: thresholds as a share of the reference length.
        preset: when a keypoint is correct.

    Returns:
        ``{"<dataset>/<split>": {"<predictor>": scores}}`` in the order of first appearance in the table.

    Raises:
        PeftCorrError: as `aggregate`.
    """
    scores: dict[str, dict[str, Scores]] = {}
    for (dataset, split, predictor), found in groups(table):
        rows = visible(found)
        scores.setdefault(f"{dataset}/{split}", {})[predictor] = aggregate(
            points(rows, "prediction"),
            points(rows, "truth"),
            rows.column("reference_length").to_numpy(),
            rows.column("pair").to_numpy(),
            rows.column("category"),
            alphas,
            pair_names=rows.column("pair_id"),
            preset=preset,
            sizes=frame_sizes(rows, preset, f"{dataset}/{split}"),
            dataset=dataset,
        )
    return scores


def _array(values: ArrayLike, name: str, columns: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        array = array.reshape(0, columns)
    if array.ndim != 2 or array.shape[1] != columns:
        raise PeftCorrError(f"{name} must have the shape (N, {columns}), not {array.shape}.")
    return array


def _check_alphas(alphas: Sequence[float]) -> None:
    if not len(alphas) or not all(math.isfinite(alpha) and alpha > 0 for alpha in alphas):
        raise PeftCorrError(f"The thresholds must be positive numbers, and at least one: {list(alphas)}.")
    if len({alpha_key(alpha) for alpha in alphas}) != len(alphas):
        raise PeftCorrError(f"The thresholds must differ in their first six digits: {list(alphas)}.")


def _check_values(good: Any, problem: str, names: Sequence[Any] | NDArray[Any]) -> None:
    bad = np.flatnonzero(~good)
    if len(bad):
        more = f" ({len(bad)} keypoints in all)" if len(bad) > 1 else ""
        raise PeftCorrError(f"Cannot score: a {problem} in pair {names[bad[0]]}{more}.")


def _codes(values: ArrayLike | pa.ChunkedArray) -> tuple[NDArray[Any], Integers]:
    """Return the distinct values, sorted, and for each value its index among them."""
    if isinstance(values, pa.ChunkedArray):
        return codes(values)
    array = np.asarray(values).reshape(-1)
    if array.dtype.kind in "OU":
        return codes(pa.chunked_array([pa.array(array, pa.string())]))
    distinct, index = np.unique(array, return_inverse=True)
    return distinct, index.reshape(-1)

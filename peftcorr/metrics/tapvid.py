"""Point tracking as TAP-Vid scores it (Doersch et al., "TAP-Vid", NeurIPS 2022, arXiv:2211.03726)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from peftcorr.errors import PeftCorrError
from peftcorr.metrics.rows import Floats, coded, groups, points, sums
from peftcorr.metrics.scores import TrackingScores, VideoTracking

Flags = NDArray[np.bool_]

THRESHOLDS = (1, 2, 4, 8, 16)  # pixels
SIDE = 256  # of the frame that they are pixels of


def track_scores(
    predictions: Floats, truths: Floats, hidden: Flags, occluded: Flags, videos: NDArray[np.int64], count: int
) -> dict[str, Floats]:
    """Score R points, each one query in one evaluated frame, video by video.

    For a threshold of k pixels, a point is within it when its distance to the truth is smaller than k.
    delta_k is the share of the visible points that are within it, whatever was predicted of their occlusion.
    Jaccard_k is TP / (TP + FP + FN): TP are visible points predicted visible and within k, FN the other visible ones,
    FP the points predicted visible that are occluded or not within k. A visible point predicted visible at the wrong
    place is thus both FN and FP. Occlusion accuracy is the share of points whose occlusion is predicted rightly.

    Args:
        predictions: x, y in a frame of 256 x 256 pixels, (R, 2).
        truths: the same, (R, 2); not looked at where occluded.
        hidden: predicted to be occluded, (R,).
        occluded: annotated to be occluded, (R,).
        videos: number of each point's video, (R,).
        count: how many videos there are, V.

    Returns:
        ``delta`` and ``jaccard`` (V, 5), ``occlusion_accuracy`` (V,), as shares; NaN where a video has nothing to
        divide by.
    """
    squared = ((predictions - truths) ** 2).sum(axis=1)
    within = squared < np.square(np.array(THRESHOLDS, dtype=np.float64))[:, None]  # (5, R)
    visible, shown = ~occluded, ~hidden

    def each(flags: Flags) -> Floats:
        return sums(flags, videos, count).T

    positives = each(visible[None])
    true_positives = each(within & visible & shown)
    false_positives = each(shown[None]) - true_positives
    with np.errstate(invalid="ignore"):
        return {
            "delta": each(within & visible) / positives,
            "jaccard": true_positives / (positives + false_positives),
            "occlusion_accuracy": each((hidden == occluded)[None])[:, 0]
            / np.bincount(videos, minlength=count),
        }


def choose_threshold(similarity: NDArray[np.floating], occluded: Flags, videos: NDArray[np.int64]) -> float:
    """The similarity below which points had best be called occluded: highest occlusion accuracy, mean over videos.

    It depends on the backbone and is to be chosen on videos other than those that are tested.

    Args:
        similarity: highest cosine similarity of each of R points, (R,).
        occluded: annotated, (R,).
        videos: number of each point's video, (R,).

    Raises:
        PeftCorrError: if there is no point.
    """
    if not len(similarity):
        raise PeftCorrError(
            "An occlusion threshold cannot be chosen: the val split has no point to be scored."
        )
    counts = np.bincount(videos)
    weight = 1.0 / counts[videos]
    order = np.argsort(similarity, kind="stable")
    value = np.asarray(similarity, dtype=np.float64)[order]
    gain = np.where(occluded, weight, -weight)[order]
    # Accuracy, up to a constant, with the k least similar called occluded, k = 0 ... R.
    accuracy = np.concatenate(([0.0], np.cumsum(gain)))
    middle = np.concatenate(([value[0]], (value[1:] + value[:-1]) / 2, [np.nextafter(value[-1], np.inf)]))
    apart = np.concatenate(([True], value[1:] > value[:-1], [True]))  # equal similarities are called the same
    return float(middle[np.argmax(np.where(apart, accuracy, -np.inf))])


def choose_on(table: pa.Table) -> float:
    """`choose_threshold` on a table of predictions of the val split; any of its predictors, their maps are the same."""
    _, one = next(groups(table))
    return choose_threshold(one.column("similarity").to_numpy(), _flags(one), coded(one, "category")[1])


def score_tracking(
    table: pa.Table, threshold: float, chosen: Literal["fixed", "val"]
) -> dict[str, dict[str, TrackingScores]]:
    """Score one dataset's predictions as tracks.

    Args:
        table: columns of `peftcorr.predictions.PREDICTION_SCHEMA`, of one split of one dataset.
        threshold: similarity below which a point is predicted to be occluded.
        chosen: how the threshold was chosen, for the record.

    Returns:
        ``{"<dataset>/<split>": {"<predictor>": scores}}``; nothing where the dataset does not tell what is occluded.

    Raises:
        PeftCorrError: if the visible points' truths or the predictions are not finite.
    """
    if not len(table) or table.column("target_occluded").null_count:
        return {}
    found: dict[str, dict[str, TrackingScores]] = {}
    for (dataset, split, predictor), rows in groups(table):
        found.setdefault(f"{dataset}/{split}", {})[predictor] = _scores(rows, threshold, chosen)
    return found


def _scores(rows: pa.Table, threshold: float, chosen: Literal["fixed", "val"]) -> TrackingScores:
    names, videos = coded(rows, "category")
    occluded = _flags(rows)
    scale = SIDE / rows.column("reference_length").to_numpy()[:, None]
    predictions, truths = points(rows, "prediction") * scale, points(rows, "truth") * scale
    if not (np.isfinite(predictions).all() and np.isfinite(truths[~occluded]).all()):
        raise PeftCorrError(
            "Cannot score tracks: a prediction or the truth of a visible point is not finite."
        )
    hidden = rows.column("similarity").to_numpy().astype(np.float64) < threshold
    found = track_scores(predictions, truths, hidden, occluded, videos, len(names))
    delta, jaccard, accuracy = (100 * found[key] for key in ("delta", "jaccard", "occlusion_accuracy"))

    def by_threshold(values: Floats) -> dict[str, float]:
        return {f"{pixels}": _mean(values[:, index]) for index, pixels in enumerate(THRESHOLDS)}

    return TrackingScores(
        delta_avg=_mean(delta.mean(axis=1)),
        occlusion_accuracy=_mean(accuracy),
        average_jaccard=_mean(jaccard.mean(axis=1)),
        delta=by_threshold(delta),
        jaccard=by_threshold(jaccard),
        per_video={
            video: VideoTracking(
                delta_avg=_number(delta[index].mean()),
                occlusion_accuracy=_number(accuracy[index]),
                average_jaccard=_number(jaccard[index].mean()),
            )
            for index, video in enumerate(names)
        },
        occlusion_threshold=threshold,
        threshold_chosen=chosen,
        n_points=len(rows),
        n_visible=int((~occluded).sum()),
        n_pairs=pc.count_distinct(rows.column("pair")).as_py(),
    )


def _mean(values: Floats) -> float:
    """Over the videos that have anything to be scored."""
    there = values[~np.isnan(values)]
    if not len(there):
        raise PeftCorrError("Cannot score tracks: no video has a visible point in a scored frame.")
    return float(there.mean())


def _number(value: np.floating) -> float | None:
    return None if np.isnan(value) else float(value)


def _flags(rows: pa.Table) -> Flags:
    flags: Flags = rows.column("target_occluded").to_numpy()
    return flags.astype(bool)

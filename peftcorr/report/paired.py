"""The difference of two methods on one split, from the predictions that their runs left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from peftcorr.errors import PeftCorrError, shortened
from peftcorr.metrics.compare import Difference, compare
from peftcorr.metrics.presets import Preset
from peftcorr.metrics.rows import groups
from peftcorr.results.runs import checked_predictions

_AGGREGATE = "per_keypoint"


def rows_of(path: Path, split: str, predictor: str) -> pa.Table:
    """The predictions of one split and predictor alone.

    Raises:
        PeftCorrError: if the file cannot be read, has none of them, or is not as its run wrote it.
    """
    for (dataset, part, name), rows in groups(checked_predictions(path)):
        if (f"{dataset}/{part}", name) == (split, predictor):
            return rows
    raise PeftCorrError(
        f"{path} has no predictions by {shortened(predictor)} on {shortened(split)}: score the run again."
    )


def paired_difference(
    first: Sequence[Path],
    second: Sequence[Path],
    split: str,
    predictor: str,
    alpha: str,
    preset: Preset,
    read: Callable[[Path, str, str], pa.Table] = rows_of,
) -> Difference:
    """Compare two methods by PCK per keypoint, the second minus the first.

    Args:
        first, second: files of predictions, of each seed one.
        split: ``<dataset>/<split>``.
        predictor: of both.
        alpha: threshold.
        preset: when a keypoint is correct.
        read: what reads them; one that remembers serves for many differences.

    Raises:
        PeftCorrError: as `rows_of`, or if the two were not scored on the same keypoints.
    """
    one, other = ([read(path, split, predictor) for path in paths] for paths in (first, second))
    found = compare(one, other, [float(alpha)], [predictor], preset=preset)
    return next(one for one in found if one.aggregate == _AGGREGATE)

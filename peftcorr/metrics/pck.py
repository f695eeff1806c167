"""PCK, the percentage of correct keypoints, as a metric of Hugging Face `evaluate`."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate

from peftcorr.metrics.aggregate import aggregate

DEFAULT_ALPHAS = (0.05, 0.1, 0.2)

_DESCRIPTION = """\
Percentage of correct keypoints: a predicted keypoint is correct when its distance to the annotated one is at
most alpha times a reference length (for SPair-71k, the longer side of the target's bounding box).
"""

_INPUTS = """
Args:
    predictions: (N, 2) predicted x, y in pixels of the original target image.
    references: (N, 2) annotated x, y in the same pixels.
    reference_lengths: (N,) reference length of each keypoint, pixels.
    pairs: (N,) integer that identifies the image pair of each keypoint.
    categories: (N,) name of the category of that pair.
    alphas: thresholds, by default 0.05, 0.1 and 0.2.

Returns:
    the fields of `peftcorr.metrics.scores.Scores` as a dictionary, in percent.
"""


class PCK(evaluate.Metric):  # type: ignore[misc]
    """PCK by every aggregate of the protocol.

    Unlike metrics that come through `evaluate.load`, it needs no network and by default no file: each process
    keeps what was added in its own memory, so several of them never meet in a shared cache folder. Keypoints that
    `compute` is given at once are scored as they are, without a table of them.

    Example:
        >>> metric = PCK()
        >>> metric.compute(predictions=[[3.0, 4.0]], references=[[0.0, 0.0]], reference_lengths=[50.0],
        ...                pairs=[0], categories=["cat"], alphas=[0.1])["per_keypoint"]
        {'0.1': 100.0}
    """

    def __init__(self, **options: Any):
        """Take the options of `evaluate.Metric`; `keep_in_memory` is on unless `num_process` is above 1."""
        options.setdefault("keep_in_memory", options.get("num_process", 1) == 1)
        super().__init__(**options)

    def compute(self, *, predictions: Any = None, references: Any = None, **more: Any) -> Any:
        """Score the keypoints that are given here, or those that were added before."""
        if predictions is not None and self.writer is None and self.keep_in_memory:
            return self._compute(predictions=predictions, references=references, **more)
        # Not through super(): the base class copies this function, without its class, to document the inputs.
        return evaluate.Metric.compute(self, predictions=predictions, references=references, **more)

    def _build_data_dir(self) -> str:
        # The base class would make a folder in the user's home even for a metric that writes no file.
        return "" if self.keep_in_memory else str(super()._build_data_dir())

    def _info(self) -> evaluate.MetricInfo:
        point = datasets.Sequence(datasets.Value("float64"), length=2)
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "predictions": point,
                    "references": point,
                    "reference_lengths": datasets.Value("float64"),
                    "pairs": datasets.Value("int64"),
                    "categories": datasets.Value("string"),
                }
            ),
        )

    def _compute(
        self,
        *,
        predictions: Any,
        references: Any,
        reference_lengths: Any,
        pairs: Any,
        categories: Any,
        alphas: Any = DEFAULT_ALPHAS,
    ) -> dict[str, Any]:
        scores = aggregate(predictions, references, reference_lengths, pairs, categories, list(alphas))
        return scores.model_dump()

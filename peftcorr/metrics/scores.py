"""What scoring gives: PCK of one predictor on one split, and point tracking by TAP-Vid's definition."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from peftcorr.metrics.presets import Aggregate

Threshold = Annotated[
    str, StringConstraints(max_length=32, pattern=r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[-+]?[0-9]+)?$")
]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Amount = Annotated[float, Field(ge=0)]  # of seconds, say
Percent = Annotated[float, Field(ge=0, le=100)]


class Strict(BaseModel):
    """A model that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Estimate(Strict):
    """A value with its 95 % interval, which is missing where there are too few images."""

    value: Amount
    interval: tuple[Amount, Amount] | None = Field(default=None, exclude_if=lambda value: value is None)


class Averages(Strict):
    """One measure over all keypoints, and as the mean over pairs of each pair's own mean."""

    per_keypoint: Estimate
    per_image: Estimate


class GeometryAware(Strict):
    """PCK in percent of the keypoints that another keypoint of the object looks like, by threshold."""

    pck: dict[Threshold, Averages]
    n_pairs: Count
    n_keypoints: Count


class CoveragePoint(Strict):
    """PCK@0.1 of the `share` of all keypoints (percent) whose similarity is at least `similarity`."""

    share: Percent
    similarity: float
    pck: Estimate


class Confidence(Strict):
    """What similarity tells of being right: PCK@0.1 by coverage, from a tenth to all, and its mean over these."""

    coverage: list[CoveragePoint]
    mean: Estimate


class Further(Strict):
    """Further measures of one predictor on one split, as `peftcorr.metrics.further` defines them.

    `fine` is PCK@0.01, `distinct` PCK† by threshold, both in percent; errors are in percent of the reference length;
    `area` is that under the PCK curve, in percent of the whole. `geometry_aware` is null where the subset is not known
    or empty, `confidence` where predictions have no similarity.
    """

    fine: Averages
    distinct: dict[Threshold, Averages]
    geometry_aware: GeometryAware | None = Field(default=None, exclude_if=lambda value: value is None)
    mean_error: Averages
    median_error: Estimate
    area: Averages
    confidence: Confidence | None = Field(default=None, exclude_if=lambda value: value is None)


class Scores(Strict):
    """PCK in percent of one predictor on one split; the keys of the dictionaries are thresholds ("0.1").

    `per_keypoint` pools all keypoints, `per_image` is the mean over pairs of each pair's share,
    `per_category` holds both for every category and their plain mean over categories. `intervals` are the 95 %
    intervals [low, high] of `peftcorr.metrics.bootstrap`, without the aggregates that have none; None in records
    from before there were any, as `further` is.
    """

    per_keypoint: dict[Threshold, Percent]
    per_image: dict[Threshold, Percent]
    per_category: dict[str, CategoryScores]
    category_mean: CategoryMean
    n_pairs: Count
    n_keypoints: Count
    intervals: dict[Aggregate, dict[Threshold, tuple[Percent, Percent]]] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )
    further: Further | None = Field(default=None, exclude_if=lambda value: value is None)

    def aggregates(self) -> dict[Aggregate, dict[str, float]]:
        """Every aggregate over the whole split, each by threshold."""
        return {
            "per_keypoint": self.per_keypoint,
            "per_image": self.per_image,
            "category_mean_per_keypoint": self.category_mean.per_keypoint,
            "category_mean_per_image": self.category_mean.per_image,
        }


class CategoryScores(Strict):
    """PCK of one category, by both aggregates."""

    per_keypoint: dict[Threshold, Percent]
    per_image: dict[Threshold, Percent]
    n_pairs: Count
    n_keypoints: Count


class CategoryMean(Strict):
    """Plain mean over categories of each aggregate."""

    per_keypoint: dict[Threshold, Percent]
    per_image: dict[Threshold, Percent]


Part = Literal["seen", "unseen_keypoints", "unseen_categories"]
"""Of a test split: what its training was shown, keypoints that it was not, and categories that it was not."""


class Generalisation(Strict):
    """A test split scored apart by what the training was shown.

    `keypoints` has those of each category that it was not shown, of categories that it was; `categories` those of which
    it saw nothing. `scores` is by predictor and part; a part without a visible keypoint in the split is left out.
    """

    keypoints: dict[str, list[str]]
    categories: list[str]
    scores: dict[str, dict[Part, Scores]]


class VideoTracking(Strict):
    """Tracking in one video, in percent; null where the video has nothing to be counted."""

    delta_avg: Percent | None
    occlusion_accuracy: Percent | None
    average_jaccard: Percent | None


class TrackingScores(Strict):
    """Point tracking by TAP-Vid's definition, in percent, mean over videos; of one predictor on one split.

    The keys of `delta` and `jaccard` are thresholds in pixels of a 256 x 256 frame; `delta_avg` and `average_jaccard`
    are their means. A point is predicted to be occluded when its similarity is below `occlusion_threshold`, which was
    fixed in the recipe or chosen on the val split, on other videos.
    """

    delta_avg: Percent
    occlusion_accuracy: Percent
    average_jaccard: Percent
    delta: dict[Threshold, Percent]
    jaccard: dict[Threshold, Percent]
    per_video: dict[str, VideoTracking]
    occlusion_threshold: float
    threshold_chosen: Literal["fixed", "val"]
    n_pairs: Count
    n_points: Count
    n_visible: Count

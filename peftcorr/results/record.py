"""The record of a run: one JSON file, everything the leaderboard needs and nothing else."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from peftcorr.metrics.presets import PEFTCORR, Aggregate, Preset

SCHEMA_VERSION: Literal[1] = 1

Threshold = Annotated[str, StringConstraints(pattern=r"^[0-9.]+(e[-+]?[0-9]+)?$")]
Percent = Annotated[float, Field(ge=0, le=100)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Scores(_Strict):
    """PCK in percent of one predictor on one split; the keys of the dictionaries are thresholds ("0.1").

    `per_keypoint` pools all keypoints, `per_image` is the mean over pairs of each pair's share,
    `per_category` holds both for every category and their plain mean over categories. `intervals` are the 95 %
    intervals [low, high] of `peftcorr.metrics.bootstrap`, without the aggregates that have none; None in records
    from before there were any.
    """

    per_keypoint: dict[Threshold, Percent]
    per_image: dict[Threshold, Percent]
    per_category: dict[str, CategoryScores]
    category_mean: CategoryMean
    n_pairs: int
    n_keypoints: int
    intervals: dict[Aggregate, dict[Threshold, tuple[Percent, Percent]]] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )

    def aggregates(self) -> dict[Aggregate, dict[str, float]]:
        """Every aggregate over the whole split, each by threshold."""
        return {
            "per_keypoint": self.per_keypoint,
            "per_image": self.per_image,
            "category_mean_per_keypoint": self.category_mean.per_keypoint,
            "category_mean_per_image": self.category_mean.per_image,
        }


class CategoryScores(_Strict):
    """PCK of one category, by both aggregates."""

    per_keypoint: dict[Threshold, Percent]
    per_image: dict[Threshold, Percent]
    n_pairs: int
    n_keypoints: int


class CategoryMean(_Strict):
    """Plain mean over categories of each aggregate."""

    per_keypoint: dict[Threshold, Percent]
    per_image: dict[Threshold, Percent]


class VideoTracking(_Strict):
    """Tracking in one video, in percent; null where the video has nothing to be counted."""

    delta_avg: Percent | None
    occlusion_accuracy: Percent | None
    average_jaccard: Percent | None


class TrackingScores(_Strict):
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
    n_pairs: int
    n_points: int
    n_visible: int


class Cost(_Strict):
    """What a run took. `encoder_forwards` counts images that went through the encoder in evaluation."""

    train_seconds: float
    eval_seconds: float
    peak_memory_bytes: int
    encoder_forwards: int
    steps: int


class Environment(_Strict):
    """What a run ran on. `cpu_threads` is what torch computes with in each process."""

    packages: dict[str, str]
    python: str
    platform: str
    commit: str | None
    dirty: bool | None
    cpu: str
    cpu_threads: int
    gpu: str | None
    processes: int
    precision: str


class ValidationPoint(_Strict):
    """Validation PCK@0.1 per keypoint (percent) after `step` steps, `seconds` into training."""

    step: int
    seconds: float
    pck: float


class SearchPoint(_Strict):
    """Validation PCK@0.1 per keypoint (percent) of one learning rate after the search's `steps` steps."""

    learning_rate: float
    steps: int
    seconds: float
    pck: float


class Leakage(_Strict):
    """Images of a test set that were trained on too, by what the network saw of them.

    `identical` and `near` count tested images whose input equals a trained one's to the last bit, and those that are a
    copy saved again or at another size (`peftcorr.data.leakage`); `examples` has a few [trained, tested] paths.
    """

    trained_images: int
    tested_images: int
    identical: int
    near: int
    examples: list[list[str]] = []


class Record(_Strict):
    """One run. `recipe` is the resolved recipe without any path; `run_id` is its hash.

    `leakage` is by "<dataset>/<split>" like `scores`; it is null for a run that trained on nothing.
    `protocol` is the definition that `scores` follow; the learning rate and step were chosen by peftcorr's.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    run_id: str
    status: Literal["ok", "failed"]
    error: str | None = None
    recipe: dict[str, Any]
    strategy: str
    backbone: str
    weights_id: str
    weights_sha256: str | None
    official_weights: bool
    dataset: str
    seed: int
    protocol: Preset = PEFTCORR
    trainable_parameters: int | None = None
    total_parameters: int | None = None
    adapter_bytes: int | None = None
    scores: dict[str, dict[str, Scores]] = {}
    tracking: dict[str, dict[str, TrackingScores]] = Field(default={}, exclude_if=lambda value: not value)
    validation: list[ValidationPoint] = []
    best_step: int | None = None
    learning_rate: float | None = None
    learning_rate_search: list[SearchPoint] = []
    leakage: dict[str, Leakage] | None = None
    cost: Cost | None = None
    environment: Environment | None = None

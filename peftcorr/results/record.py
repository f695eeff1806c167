"""The record of a run: one JSON file, everything the leaderboard needs and nothing else."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from peftcorr.data.leakage import Leakage
from peftcorr.metrics.presets import PEFTCORR, Preset
from peftcorr.metrics.scores import Amount, Count, Generalisation, Percent, Scores, Strict, TrackingScores

SCHEMA_VERSION: Literal[2] = 2

# Part of the names of a run's files; a digest, but for what was made by hand.
RunId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$")]
# Of a file below the output folder, and no way out of it.
Inside = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9_-][A-Za-z0-9_.-]*/)*[A-Za-z0-9_-][A-Za-z0-9_.-]*$")
]


class Cost(Strict):
    """What a run took. `encoder_forwards` counts images that went through the encoder in evaluation.

    `peak_memory_bytes` is the main process's, `peak_memory_by_process` that of each, by rank.
    """

    train_seconds: Amount
    eval_seconds: Amount
    peak_memory_bytes: Count
    peak_memory_by_process: list[Count] | None = Field(default=None, exclude_if=lambda value: value is None)
    encoder_forwards: Count
    steps: Count


class Environment(Strict):
    """What a run ran on. `cpu_threads` is what torch computes with in each process.

    `devices` counts the processes on each kind of device. `driver` is the newest CUDA that the driver supports, `cuda`
    the one that torch was built for. `precision_flags` are torch's own, outside of what the recipe's precisions say.
    """

    packages: dict[str, str]
    python: str
    platform: str
    commit: str | None
    dirty: bool | None
    cpu: str
    cpu_threads: int
    gpu: str | None
    devices: dict[str, Count] | None = Field(default=None, exclude_if=lambda value: value is None)
    driver: str | None = Field(default=None, exclude_if=lambda value: value is None)
    cuda: str | None = Field(default=None, exclude_if=lambda value: value is None)
    processes: int
    precision: str
    precision_flags: dict[str, bool] | None = Field(default=None, exclude_if=lambda value: value is None)


class ValidationPoint(Strict):
    """Validation PCK@0.1 per keypoint (percent) after `step` steps, `seconds` into training.

    `loss` is the mean over the steps since the validation before; None in records from before it was kept.
    """

    step: Count
    seconds: Amount
    pck: Percent
    loss: float | None = Field(default=None, exclude_if=lambda value: value is None)


class SearchPoint(Strict):
    """Validation PCK@0.1 per keypoint (percent) of one learning rate after the search's `steps` steps."""

    learning_rate: float
    steps: int
    seconds: float
    pck: float


class Stage(Strict):
    """A training that came before: the run, what it was trained on, by its name and as its recipe has it, and its
    adapter. `steps` were made up to the one that was kept. `annotation` and `held_out` are digests of its trn split and
    of what it held out, which records of before they were kept do not have.
    """

    run_id: RunId
    dataset: str
    section: dict[str, Any]
    steps: Count
    seed: int
    adapter_sha256: str
    annotation: str | None = Field(default=None, exclude_if=lambda value: value is None)
    held_out: str | None = Field(default=None, exclude_if=lambda value: value is None)


class Record(BaseModel):
    """One run. `recipe` is resolved; `run_id` is a hash of it and of `ingredients` (`peftcorr.results.identity`).

    `chain` has the trainings that this one started from, the first one first; empty where it started from the
    pretrained backbone.
    `files` has the digests of what lies beside the record, by path below the output folder: predictions, adapter, and
    one for all files of the folder that peft reads. Records of version 1 have neither: nothing ties their numbers to
    what made them.
    `generalisation` has the parts of the scores on what the training was and was not shown, where the recipe's dataset
    holds something out.
    `leakage` is by "<dataset>/<split>" like `scores`; it is null for a run that trained on nothing.
    `retry` is true of a failure that was the machine's, not the recipe's: the same command tries again.
    `unselected` is true of a run that trained without a validation split: its last step was kept, whatever it is worth.
    `protocol` is the definition that `scores` follow; the learning rate and step were chosen by peftcorr's.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    schema_version: Literal[1, 2] = SCHEMA_VERSION
    run_id: RunId
    status: Literal["ok", "failed"]
    error: str | None = None
    retry: bool = Field(default=False, exclude_if=lambda value: not value)
    recipe: dict[str, Any]
    ingredients: dict[str, str] = Field(default={}, exclude_if=lambda value: not value)
    chain: list[Stage] = Field(default=[], exclude_if=lambda value: not value)
    files: dict[Inside, str] = Field(default={}, exclude_if=lambda value: not value)
    strategy: str
    backbone: str
    weights_id: str
    weights_sha256: str | None
    weights_commit: str | None = Field(default=None, exclude_if=lambda value: value is None)
    official_weights: bool
    dataset: str
    seed: int
    protocol: Preset = PEFTCORR
    trainable_parameters: Count | None = None
    total_parameters: Count | None = None
    adapter_bytes: Count | None = None
    scores: dict[str, dict[str, Scores]] = {}
    tracking: dict[str, dict[str, TrackingScores]] = Field(default={}, exclude_if=lambda value: not value)
    generalisation: dict[str, Generalisation] = Field(default={}, exclude_if=lambda value: not value)
    validation: list[ValidationPoint] = []
    best_step: Count | None = None
    unselected: bool = Field(default=False, exclude_if=lambda value: not value)
    learning_rate: float | None = None
    learning_rate_search: list[SearchPoint] = []
    leakage: dict[str, Leakage] | None = None
    cost: Cost | None = None
    environment: Environment | None = None

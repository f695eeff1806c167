"""A recipe says everything that decides a run's numbers, and nothing about the machine it runs on.

Precedence, in `resolve` and nowhere else: command line, then ``--set``, then the recipe file (nearest first along
``extends``), then the defaults below, which are the embedded benchmark.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from peftcorr.backbones import BACKBONES
from peftcorr.config import Section, complete, distinct, explain, merge, nested
from peftcorr.data import DATASETS
from peftcorr.errors import PeftCorrError, did_you_mean, shortened
from peftcorr.files import digest
from peftcorr.files.reading import NoYaml, parse_yaml, read_text
from peftcorr.matching import PREDICTORS
from peftcorr.matching.conventions import convention_named, filled_in
from peftcorr.matching.loss import LossConfig
from peftcorr.metrics.presets import preset_named
from peftcorr.strategies import STRATEGIES

DEFAULT_SECTIONS: Section = {
    "strategy": {"name": "lora"},
    "backbone": {"name": "tiny"},
    "dataset": {"name": "synthetic"},
}

VARY = "vary"  # a key of recipe files alone: options that a sweep takes several values of

_LONGEST = 32  # recipes that extend one another
_NAMED = re.compile(r"^(?!\s*\{.*:).*\{[A-Za-z_]+\}")  # a name in braces, in no mapping


class Search(BaseModel):
    """A search of the learning rate on the validation split, each candidate from the same start."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    learning_rates: list[float] = Field(min_length=2)
    steps: int = Field(gt=0, description="steps that each candidate trains")


class Training(BaseModel):
    """How the strategy's parameters are trained."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    steps: int = Field(default=160, ge=0)
    sampler: Literal["cliques", "pairs"] = "cliques"
    images: int = Field(
        default=5, ge=2, description="images of one category in a step, all their pairs (cliques)"
    )
    pairs: int = Field(default=8, ge=1, description="pairs in a step (pairs)")
    accumulation: int = Field(default=1, ge=1, description="batches whose gradients are added to one step")
    learning_rate: float | None = Field(
        default=3e-3, gt=0, description="null: the strategy's own; a search overrides it"
    )
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of the steps")
    gradient_clip: float = Field(default=1.0, gt=0)
    loss: LossConfig = LossConfig()
    prefix_cache: Literal["fp32", "bf16", "none"] = Field(
        default="fp32",
        exclude_if=lambda value: value == "fp32",  # runs of before this key was known keep their run_id
        description="how the output of the blocks before the first trainable one is kept, once an image",
    )
    colour_jitter: float = Field(
        default=0.0,
        ge=0,
        le=1,
        exclude_if=lambda value: value == 0,
        description="brightness, contrast and saturation change by up to this share, hue by a quarter of it",
    )
    gradient_checkpointing: bool = Field(
        default=False,
        exclude_if=lambda value: not value,
        description="compute each block again in the backward pass: less memory, a third more time",
    )
    validate_every: int = Field(default=80, gt=0)
    checkpoint_every: int = Field(default=50, gt=0)
    search: Search | None = None


class WeightsIdentity(BaseModel):
    """What names weights in a recipe: never their path."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    id: str
    sha256: str | None
    commit: str | None = Field(default=None, exclude_if=lambda commit: commit is None)


class Recipe(BaseModel):
    """One run, resolved: a strategy on a backbone, trained on a dataset, scored on it and on others."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    strategy: Section
    backbone: Section
    weights: WeightsIdentity | None = None
    dataset: Section
    init_from: str | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        exclude_if=lambda value: value is None,
        description="a finished run in the output folder, or how its id begins: its adapter is where training starts",
    )
    eval_on: list[Section] = []
    convention: str = Field(
        default="peftcorr",
        exclude_if=lambda value: value == "peftcorr",
        description="how images, keypoints, features and points come together (peftcorr/matching/conventions.py); it "
        "sets the preset, and the predictors where a recipe names none",
    )
    flip: Literal["none", "adaptive"] = Field(
        default="none",
        exclude_if=lambda value: value == "none",
        description="adaptive: when tested, each pair is matched from the mirrored source too, and the way round that "
        "fits better is kept (GeoAware-SC); every source is encoded twice",
    )
    predictors: list[Section] = Field(
        default=[{"name": "argmax"}, {"name": "window_softargmax"}], min_length=1, validate_default=True
    )
    alphas: list[float] = Field(default=[0.05, 0.1, 0.2], min_length=1)
    preset: str = Field(
        default="peftcorr",
        exclude_if=lambda value: value == "peftcorr",
        description="when a test keypoint is correct (peftcorr/metrics/presets.py); val is scored by peftcorr's always",
    )
    training: Training = Training()
    seed: int = Field(default=0, ge=0, lt=2**32)  # NumPy takes no larger one
    precision: Literal["no", "bf16", "fp16"] = "no"
    score_precision: Literal["fp32", "tf32", "bf16"] = Field(
        default="fp32",
        exclude_if=lambda value: value == "fp32",
        description="of the encoder when it is scored; tf32 (on NVIDIA's GPUs) and bf16 move the scores a little "
        "(leaderboard/speed.md)",
    )
    encode_batch: Annotated[int, Field(gt=0)] | Literal["auto"] = Field(
        default=16,
        description="images encoded at once in evaluation; auto: many, and half as many each time memory runs out",
    )
    limit_pairs: int | None = Field(
        default=None, gt=0, description="score this many evenly spaced pairs a split"
    )

    @model_validator(mode="before")
    @classmethod
    def _by_convention(cls, values: Any) -> Any:
        return filled_in(values) if isinstance(values, dict) else values

    @field_validator("strategy", mode="before")
    @classmethod
    def _strategy(cls, value: object) -> Section:
        return complete(STRATEGIES, value)

    @field_validator("backbone", mode="before")
    @classmethod
    def _backbone(cls, value: object) -> Section:
        return complete(BACKBONES, value)

    @field_validator("dataset", mode="before")
    @classmethod
    def _dataset(cls, value: object) -> Section:
        return complete(DATASETS, value)

    @field_validator("eval_on", mode="before")
    @classmethod
    def _eval_on(cls, value: object) -> list[Section]:
        sections = [complete(DATASETS, item) for item in _as_list(value)]
        if any("hold_out" in section for section in sections):
            raise PeftCorrError(
                "eval_on: hold_out is an option of the dataset that is trained on: put it under dataset."
            )
        return sections

    @field_validator("predictors", mode="before")
    @classmethod
    def _predictors(cls, value: object) -> list[Section]:
        # Each has one place in the scores: named twice it would be counted twice.
        return distinct([complete(PREDICTORS, item) for item in _as_list(value)])

    @field_validator("convention", mode="before")
    @classmethod
    def _convention(cls, value: object) -> str:
        return convention_named(value).name

    @field_validator("precision", mode="before")
    @classmethod
    def _precision(cls, value: object) -> object:
        return "no" if value is False else value  # what YAML 1.1 makes of a bare no

    @field_validator("preset", mode="before")
    @classmethod
    def _preset(cls, value: object) -> str:
        return preset_named(value).name

    @field_validator("alphas")
    @classmethod
    def _alphas(cls, value: list[float]) -> list[float]:
        if any(not 0 < alpha < 10 for alpha in value):
            raise ValueError("every threshold must lie between 0 and 10")
        return sorted(set(value))

    def digest(self) -> str:
        """Hash of the resolved recipe; what names a run is more than that (`peftcorr.results.identity`)."""
        return digest(self.model_dump(mode="json"))


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def validate(values: Section, origin: str) -> Recipe:
    """Validate a merged mapping.

    Raises:
        PeftCorrError: naming `origin`, the key and the nearest right name.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise PeftCorrError(f"{origin}: {explain(error, Recipe)}") from error
    except PeftCorrError as error:
        raise PeftCorrError(f"{origin}: {error}") from error


def shipped(name: str) -> Path:
    """The recipe of that name (``spair71k/lora``) among those that come with the package.

    Raises:
        PeftCorrError: if there is none, with the nearest name.
    """
    package = Path(__file__).parent
    # A wheel holds the folder inside the package; in a clone it lies beside the package.
    folder = next((at for at in (package / "recipes", package.parent / "recipes") if at.is_dir()), package)
    known = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.yaml")}
    found = known.get(name.removesuffix(".yaml"))
    if found is None:
        raise PeftCorrError(
            f"--recipe {shortened(name, 200)}: there is no such file, nor such a recipe in the package."
            f"{did_you_mean(name.removesuffix('.yaml'), known)}"
        )
    return found


def read(path: Path) -> Section:
    """Read a YAML recipe and what it extends, nearest values winning.

    Args:
        path: a file, which wins, or the name of a recipe that is `shipped`.

    Raises:
        PeftCorrError: if there is no such recipe, or one is no YAML mapping, extends itself or goes on too long.
    """
    found: dict[Path, Section] = {}
    following: Path | None = path if os.path.exists(path) else shipped(path.as_posix())
    while following is not None:
        path = Path(os.path.realpath(following))
        if path in found:
            raise PeftCorrError(f"{path.name} extends itself, by way of {', '.join(p.name for p in found)}.")
        if len(found) == _LONGEST:
            raise PeftCorrError(f"--recipe {path}: no recipe extends more than {_LONGEST - 1} others.")
        values = _mapping(path)
        parent = values.pop("extends", None)
        if parent is not None and not isinstance(parent, str):
            raise PeftCorrError(f"--recipe {path}: extends must be the path of one recipe.")
        found[path] = values
        following = None if parent is None else path.parent / parent
    merged: Section = {}
    for values in reversed(found.values()):
        merged = merge(merged, values)
    return merged


def _mapping(path: Path) -> Section:
    if not os.path.exists(path):
        raise PeftCorrError(f"--recipe {shortened(str(path), 200)}: there is no such file.")
    try:
        values = parse_yaml(read_text(path))
    except ValueError as error:
        raise PeftCorrError(f"--recipe {path}: not readable as YAML ({error}).") from error
    except PeftCorrError as error:
        raise PeftCorrError(f"--recipe is not readable: {error}") from error
    if not isinstance(values, dict):
        raise PeftCorrError(f"--recipe {path}: a recipe is a mapping of keys to values.")
    return values


def parse_set(assignments: list[str]) -> Section:
    """Turn ``key.sub=value`` assignments into a nested mapping.

    Values are YAML. Text that is none is text, and so is what holds a name in braces, like ``{split}/images``.

    Raises:
        PeftCorrError: if an assignment has no key, or begins a list or mapping that it does not end.
    """
    values: Section = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise PeftCorrError(
                f"--set {shortened(assignment)}: write it as key=value, for example training.steps=100."
            )
        try:
            value = _value(text)
        except ValueError as error:
            raise PeftCorrError(f"--set {shortened(assignment)}: the value is no YAML ({error}).") from error
        values = merge(values, nested({key: value}))
    return values


def _value(text: str) -> object:
    """The value of an assignment."""
    if _NAMED.search(text):  # YAML takes {split} for a mapping
        return text
    try:
        return parse_yaml(text)
    except NoYaml:
        if text.lstrip().startswith(("[", "{")):
            raise
        return text


def resolve(command_line: Section, assignments: list[str], recipe: Path | None) -> Recipe:
    """Combine command line, ``--set`` and recipe file into a validated recipe; what a sweep varies is left out.

    Raises:
        PeftCorrError: if any of them is wrong, naming it.
    """
    values = merge(DEFAULT_SECTIONS, read(recipe) if recipe is not None else {})
    values.pop(VARY, None)
    # The command line goes under --set too: `strategy.k=2` is an option of the strategy that it names.
    values = merge(merge(merge(values, command_line), parse_set(assignments)), command_line)
    return validate(values, f"--recipe {recipe}" if recipe is not None else "command line")

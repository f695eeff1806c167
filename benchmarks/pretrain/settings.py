"""Settings of the embedded backbone's pretraining, read from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from peftcorr.data.synthetic.scene import FULL, Variety
from peftcorr.errors import PeftCorrError, did_you_mean


class Architecture(BaseModel):
    """A DINOv2 transformer (Oquab et al., 2023, arXiv:2304.07193), small.

    Attributes:
        attention_gain: how sharply attention looks at like tokens before training; see ``initialise``.
        weight_deviation: standard deviation of the other matrices before training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = 192
    blocks: int = 6
    heads: int = 3
    patch: int = 8
    image_size: int = 128
    layer_scale: float = 1.0
    attention_gain: float = 0.7
    weight_deviation: float = 0.05


class Crops(BaseModel):
    """How two views are cut out of one rendering; no colour or geometry of the scene is used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    smallest_area: float = Field(default=0.35, gt=0, le=1)
    aspect: float = Field(default=0.3, ge=0, description="largest |log| of width over height")
    rotation: float = Field(default=25.0, ge=0, description="degrees")
    flip_apart: bool = Field(default=False, description="whether one view may be mirrored and not the other")
    hue: float = Field(default=90.0, ge=0, description="degrees")
    saturation: tuple[float, float] = (0.2, 1.6)
    grey: float = 0.15
    contrast: tuple[float, float] = (0.6, 1.4)
    brightness: float = 0.2
    gamma: float = 0.4
    noise: float = 0.04


class Stage(BaseModel):
    """A part of the training with crops of one size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(gt=0)
    size: int = Field(gt=0, description="side of the crops in pixels, a multiple of the patch")
    batch: int = Field(gt=0, description="renderings in a step, over all processes, each cropped twice")


class Phase(BaseModel):
    """Stages under one learning rate, which rises linearly, stays, and falls linearly to nothing.

    Attributes:
        warmup: steps of the rise.
        decay: share of the steps, at the end, over which it falls.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stages: tuple[Stage, ...] = (Stage(steps=2000, size=64, batch=8),)
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup: int = Field(default=100, ge=0)
    decay: float = Field(default=0.3, gt=0, le=1)

    @property
    def steps(self) -> int:
        """Steps in all."""
        return sum(stage.steps for stage in self.stages)

    def stage(self, step: int) -> Stage:
        """The stage that a step, counted from 0, belongs to."""
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        return self.stages[-1]

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        fall = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.learning_rate * min(rise, fall, 1.0)


class Appearance(Phase):
    """A second phase, in which the features also give back what their patches look like.

    Matching alone drops colour and texture, and no adapter brings back what is not there. Here it reads the
    features through a linear map, thrown away afterwards as projection heads are (Chen et al., "A Simple Framework
    for Contrastive Learning of Visual Representations", 2020, arXiv:2002.05709), while a fixed orthonormal map has to
    read the patch's pixels off the features themselves.

    Attributes:
        weight: of the squared error of the pixels.
        pixels: side to which a patch is averaged before its pixels are asked for.
        amplitude: of the pixels' normalised values, in units of the features.
    """

    weight: float = Field(default=0.5, gt=0)
    pixels: int = Field(default=4, gt=0)
    amplitude: float = Field(default=1.5, gt=0)


class PretrainSettings(Phase):
    """Everything that decides the weights; its own stages are the first phase, matching alone.

    Attributes:
        renderings: images of each category, from a namespace of objects that the benchmark never uses.
        side: renderings are kept square with this side in pixels.
        variety: how much objects and cameras vary.
        appearance: the second phase, if there is one.
    """

    seed: int = 0
    renderings: int = Field(default=700, gt=0)
    side: int = Field(default=144, gt=0)
    variety: Variety = FULL
    architecture: Architecture = Architecture()
    crops: Crops = Crops()
    temperature: float = Field(default=0.1, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    gradient_clip: float = Field(default=1.0, gt=0)
    precision: Literal["no", "bf16"] = "bf16"
    checkpoint_every: int = Field(default=100, gt=0)
    appearance: Appearance | None = None


def read_settings(path: Path) -> PretrainSettings:
    """Read a recipe.

    Raises:
        PeftCorrError: if it cannot be read or has a wrong key, naming the nearest right one.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return PretrainSettings.model_validate(content)
    except OSError as error:
        raise PeftCorrError(f"Cannot read the recipe {path}: {error.strerror or error}.") from error
    except yaml.YAMLError as error:
        raise PeftCorrError(f"The recipe {path} is not valid YAML: {error}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        hint = ""
        if first["type"] == "extra_forbidden":
            hint = did_you_mean(str(first["loc"][-1]), PretrainSettings.model_fields)
        raise PeftCorrError(f"The recipe {path}: {key}: {first['msg']}.{hint}") from error

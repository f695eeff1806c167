"""Presets: when a keypoint counts as correct, by this project's protocol and as published systems have it.

A preset fixes the frame that distances are measured in, what the reference length s is there, and whether a distance
of exactly ``alpha * s`` is correct. Every aggregate can be made of every preset.

Sources, each with what its public code does and a preset leaves out:

- ``dift``: Tang et al., "Emergent Correspondence from Image Diffusion", NeurIPS 2023; `eval_spair.py`. Its predictions
  are whole pixels, which is a matter of its predictor.
- ``geoaware``: Zhang et al., "Telling Left from Right", CVPR 2024; `pck_train.py` and `utils/utils_dataset.py`. It pads
  on both sides of the image, not below and right (offsets cancel in a distance), and scores 20 drawn pairs of each
  category unless asked for all.
- ``sd4match``: Li et al., "SD4Match", CVPR 2024; `config/base.py` (768 px), `dataset/` and `utils/evaluator.py`. It
  moves annotated keypoints that lie outside the image to its edge; the protocol keeps them.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from peftcorr.errors import PeftCorrError, did_you_mean, shown

Floats = NDArray[np.float64]
Aggregate = Literal["per_keypoint", "per_image", "category_mean_per_keypoint", "category_mean_per_image"]
AGGREGATES: tuple[Aggregate, ...] = get_args(Aggregate)


class ScoringFrame(BaseModel):
    """The pixels that a distance is measured in.

    Attributes:
        kind: ``original`` image; ``isotropic``, scaled so that its longer side is `size`, then padded to a square; or
            ``stretched`` to a square of side `size`.
        size: pixels; None for the original image.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["original", "isotropic", "stretched"]
    size: int | None = None

    @model_validator(mode="after")
    def _has_its_size(self) -> ScoringFrame:
        if (self.kind == "original") != (self.size is None) or (self.size is not None and self.size < 1):
            raise ValueError("an original frame has no size, any other a positive one")
        return self

    def __str__(self) -> str:
        return {
            "original": "original image",
            "isotropic": f"longer side scaled to {self.size} px, then padded",
            "stretched": f"stretched to {self.size} x {self.size} px",
        }[self.kind]


class Preset(BaseModel):
    """One definition of a correct keypoint, complete enough to be kept in a record.

    Attributes:
        name: what it is asked for by.
        source: where it is defined.
        frame: the pixels that distances and s are measured in.
        comparator: between a distance and ``alpha * s``.
        normaliser: what s is.
        reports: aggregates that the system itself publishes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    source: str
    frame: ScoringFrame
    comparator: Literal["<=", "<"]
    normaliser: str
    reports: tuple[Aggregate, ...]

    @property
    def needs_sizes(self) -> bool:
        """Whether the image's size and both sides of what s belongs to must be known."""
        return self.frame.kind == "stretched"

    def measure(self, offsets: Floats, lengths: Floats, sizes: Floats | None) -> tuple[Floats, Floats]:
        """Measure N distances and their reference lengths, (N,) each, in the frame.

        Args:
            offsets: (N, 2) prediction minus truth, in pixels of the original target image.
            lengths: (N,) the dataset's reference length in the same pixels.
            sizes: (N, 4) W, H of the target image, then width and height of the rectangle whose longer side `lengths`
                is; needed where `needs_sizes`.
        """
        if self.frame.kind == "stretched":
            assert self.frame.size is not None
            assert sizes is not None
            scale = self.frame.size / sizes[:, :2]
            offsets, lengths = offsets * scale, (sizes[:, 2:] * scale).max(axis=1)
        # An isotropic frame multiplies distance and length by one factor: leaving it out rounds nothing.
        return np.hypot(offsets[:, 0], offsets[:, 1]), lengths

    def correct(self, distances: Floats, limits: Floats) -> NDArray[np.bool_]:
        """Which of the distances are within their limits."""
        found: NDArray[np.bool_] = distances < limits if self.comparator == "<" else distances <= limits
        return found


# A record keeps the whole definition, and results by two definitions never share a table: do not reword these.
PEFTCORR = Preset(
    name="peftcorr",
    source="peftcorr's protocol",
    frame=ScoringFrame(kind="original"),
    comparator="<=",
    normaliser="the dataset's reference length",
    reports=AGGREGATES,
)
PRESETS = {
    preset.name: preset
    for preset in (
        PEFTCORR,
        Preset(
            name="dift",
            source="Tang et al., Emergent Correspondence from Image Diffusion, NeurIPS 2023",
            frame=ScoringFrame(kind="original"),
            comparator="<=",
            normaliser="the dataset's reference length",
            reports=("per_keypoint", "per_image"),
        ),
        Preset(
            name="geoaware",
            source="Zhang et al., Telling Left from Right, CVPR 2024",
            frame=ScoringFrame(kind="isotropic", size=840),
            comparator="<",
            normaliser="the dataset's reference length, scaled with the image",
            reports=("per_keypoint", "per_image"),
        ),
        Preset(
            name="sd4match",
            source="Li et al., SD4Match, CVPR 2024",
            frame=ScoringFrame(kind="stretched", size=768),
            comparator="<=",
            normaliser="the longer side, once stretched, of the rectangle whose longer side is the dataset's reference "
            "length",
            reports=("per_image",),
        ),
    )
}


def preset_named(name: object) -> Preset:
    """Return the preset of that name.

    Raises:
        PeftCorrError: if there is none, with the nearest name.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise PeftCorrError(f"Unknown preset {shown(name)}.{did_you_mean(str(name), PRESETS)}")
    return PRESETS[name]

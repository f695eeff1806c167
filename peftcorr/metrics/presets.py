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
  moves annotated keypoints that lie outside the image to its edge, which its convention does too.
- ``visual_ai``: Visual-AI, "Semantic Correspondence: Unified Benchmarking and a Strong Baseline"; `test.py` (840 px),
  `dataset/` and `utils/geometry_data.py`. The centres of the corner pixels are fitted onto one another, and keypoints
  of PF-Willow and PF-Pascal are rounded down. On AP-10K it takes keypoints with v = 2 alone; which there are is the
  dataset's.
- ``marco``: MARCO; `datasets/dataset.py` (770 px) and `util/evaluator.py`. AP-10K and PF-Pascal keep their aspect
  ratio.
- ``cats``: Cho et al., "CATs: Cost Aggregation Transformers for Visual Correspondence", NeurIPS 2021. Keypoints of the
  target are looked for in the source, whose box s belongs to, so that predictions have to be made that way round.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from peftcorr.errors import PeftCorrError, did_you_mean, shown

Floats = NDArray[np.float64]
Aggregate = Literal["per_keypoint", "per_image", "category_mean_per_keypoint", "category_mean_per_image"]
AGGREGATES: tuple[Aggregate, ...] = get_args(Aggregate)


class ScoringFrame(BaseModel):
    """The pixels that a distance is measured in.

    Attributes:
        kind: ``original`` image; ``isotropic``, scaled so that its longer side is `size`, then padded to a square;
            ``fitted``, the same with both sides rounded to whole pixels and scaled by that; ``stretched`` to a square
            of side `size`; or ``corners``, stretched so that the centres of the corner pixels meet.
        size: pixels; None for the original image.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["original", "isotropic", "fitted", "stretched", "corners"]
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
            "fitted": f"longer side scaled to {self.size} px, both to whole pixels",
            "stretched": f"stretched to {self.size} x {self.size} px",
            "corners": f"stretched to {self.size} x {self.size} px, corner to corner",
        }[self.kind]

    def shape(self, images: Floats) -> tuple[Floats, Floats]:
        """Scale of x and y, and width and height (N, 2), of originals (N, 2) in a frame that is not the original's."""
        assert self.size is not None
        extent = np.full_like(images, self.size)
        if self.kind == "fitted":
            extent = np.maximum(1, np.rint(images * self.size / images.max(axis=1, keepdims=True)))
        if self.kind == "corners":
            return (extent - 1) / np.maximum(images - 1, 1), extent
        return extent / images, extent


class Preset(BaseModel):
    """One definition of a correct keypoint, complete enough to be kept in a record.

    Attributes:
        name: what it is asked for by.
        source: where it is defined.
        frame: the pixels that distances and s are measured in.
        comparator: between a distance and ``alpha * s``.
        normaliser: what s is.
        reports: aggregates that the system itself publishes.
        edge: annotated keypoints are moved this far inside of the centres of the frame's outermost pixels; None leaves
            them.
        whole_on: datasets, by the beginning of their names, whose annotated keypoints are rounded down first.
        fitted_on: datasets, likewise, measured in a ``fitted`` frame.
        direction: ``backwards`` where keypoints of the target are looked for in the source.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    source: str
    frame: ScoringFrame
    comparator: Literal["<=", "<"]
    normaliser: str
    reports: tuple[Aggregate, ...]
    edge: float | None = Field(default=None, ge=0, exclude_if=lambda value: value is None)
    whole_on: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    fitted_on: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    direction: Literal["forwards", "backwards"] = Field(
        default="forwards", exclude_if=lambda value: value == "forwards"
    )

    @property
    def needs_sizes(self) -> bool:
        """Whether the image's size and both sides of what s belongs to must be known."""
        return self.frame.kind not in ("original", "isotropic")

    def as_fed(self, size: int, edge: float | None) -> Preset:
        """The same, measured in the square of side `size` that a backbone is fed, with its edge."""
        if not self.needs_sizes:
            return self
        frame = self.frame.model_copy(update={"size": size})
        return self.model_copy(update={"frame": frame, "edge": edge})

    def rounds(self, dataset: str) -> bool:
        """Whether annotated keypoints of a dataset are rounded down."""
        return dataset.startswith(self.whole_on)

    def frame_on(self, dataset: str) -> ScoringFrame:
        """The frame that a dataset is measured in."""
        fitted = dataset.startswith(self.fitted_on)
        return self.frame.model_copy(update={"kind": "fitted"}) if fitted else self.frame

    def measure(
        self, predicted: Floats, truth: Floats, lengths: Floats, sizes: Floats | None, dataset: str = ""
    ) -> tuple[Floats, Floats]:
        """Measure N distances and their reference lengths, (N,) each, in the frame.

        Args:
            predicted: (N, 2) in pixels of the original target image.
            truth: (N, 2) likewise.
            lengths: (N,) the dataset's reference length in the same pixels.
            sizes: (N, 4) W, H of the target image, then width and height of the rectangle whose longer side `lengths`
                is; needed where `needs_sizes`.
            dataset: name of the dataset.
        """
        if self.rounds(dataset):
            truth = np.floor(truth)
        frame = self.frame_on(dataset)
        if not self.needs_sizes:
            # An isotropic frame multiplies distance and length by one factor: leaving it out rounds nothing.
            offsets = predicted - truth
            return np.hypot(offsets[:, 0], offsets[:, 1]), lengths
        assert frame.size is not None
        assert sizes is not None
        images, sides = sizes[:, :2], sizes[:, 2:]
        scale, extent = frame.shape(images)
        if self.edge is None:
            offsets = (predicted - truth) * scale
        else:
            offsets = predicted * scale - np.clip(truth * scale, self.edge, extent - 1 - self.edge)
        distances = np.hypot(offsets[:, 0], offsets[:, 1])
        if frame.kind == "fitted":
            return distances, lengths * frame.size / images.max(axis=1)
        lengths = (sides * scale).max(axis=1)
        # A whole image's is the frame's side, not how far its outer pixels are apart.
        if frame.kind == "corners":
            lengths = np.where((sides == images).all(axis=1), frame.size, lengths)
        return distances, lengths

    def positions(
        self, predicted: Floats, truth: Floats, sizes: Floats | None, dataset: str = ""
    ) -> tuple[Floats, Floats]:
        """Predictions and annotated keypoints (N, 2) in the frame, or in one of the same shape; see `measure`."""
        if self.rounds(dataset):
            truth = np.floor(truth)
        if not self.needs_sizes:
            return predicted, truth
        assert sizes is not None
        scale, extent = self.frame_on(dataset).shape(sizes[:, :2])
        truth = truth * scale
        if self.edge is not None:
            truth = np.clip(truth, self.edge, extent - 1 - self.edge)
        return predicted * scale, truth

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
        Preset(
            name="visual_ai",
            source="Visual-AI, Semantic Correspondence: Unified Benchmarking and a Strong Baseline",
            frame=ScoringFrame(kind="corners", size=840),
            comparator="<=",
            normaliser="the longer side, once stretched, of the rectangle whose longer side is the dataset's reference "
            "length; of a whole image the frame's side",
            reports=("per_image",),
            edge=1e-4,
            whole_on=("pf_willow", "pf_pascal"),
        ),
        Preset(
            name="marco",
            source="MARCO (visinf/MARCO)",
            frame=ScoringFrame(kind="stretched", size=770),
            comparator="<=",
            normaliser="the longer side, once stretched, of the rectangle whose longer side is the dataset's reference "
            "length; on AP-10K and PF-Pascal the reference length, scaled with the image",
            reports=("per_image",),
            edge=1e-4,
            fitted_on=("ap10k", "pf_pascal"),
        ),
        Preset(
            name="cats",
            source="Cho et al., CATs: Cost Aggregation Transformers for Visual Correspondence, NeurIPS 2021",
            frame=ScoringFrame(kind="stretched", size=256),
            comparator="<=",
            normaliser="the longer side, once stretched, of the source's rectangle of the kind that the dataset's "
            "reference length belongs to",
            reports=("per_image",),
            direction="backwards",
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

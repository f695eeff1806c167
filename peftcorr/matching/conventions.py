"""Conventions: all of how a published system matches, from the resized image to the point that it predicts.

A preset is scoring alone. A convention is also how an image is made square, how a keypoint comes to the feature grid,
how the query is sampled, which predictor with which constants, and the way back. What happens in the original's pixels
is `peftcorr.data.frame.FRAMINGS`, by the same names; the rest is here. Each row is read off the system's own code in
its released evaluation configuration; of several predictors the released one comes first.

Grid positions are (u, v) in cells, 0 at the centre of the first one; frame positions are pixels of the square input.
What a convention leaves to the recipe: the backbone, its size, and which pairs and keypoints a dataset has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peftcorr.config import Section
from peftcorr.errors import PeftCorrError, did_you_mean, shown
from peftcorr.matching.similarity import normalise, sample_at

Floats = NDArray[np.float64]
Grid = Literal["half_pixel", "corners", "scaled", "cell"]
Back = Literal["half_pixel", "corners", "half_patch", "half_patch_less_half"]


@dataclass(frozen=True)
class Unit:
    """Unit length: f / (max(|f|, floor) + added)."""

    floor: float = 0.0
    added: float = 0.0

    def of(self, features: Tensor, dim: int) -> Tensor:
        """Features with unit length along one dimension."""
        length: Tensor = features.norm(dim=dim, keepdim=True)
        return features / (length.clamp_min(self.floor) + self.added)


_UNIT = Unit(floor=1e-12)


@dataclass(frozen=True)
class Convention:
    """How a system matches images that are square already.

    Attributes:
        name: what it is asked for by.
        source: the system.
        grid: from the square (X) to the grid. ``half_pixel``: u = (X + 0.5) / p - 0.5; ``corners``:
            u = X (n - 1) / (S - 1); ``scaled``: u = X n / S, held at the border; ``cell``: the whole cell that X n / S
            lies in, towards zero, where cells are counted in reading order and negative ones from the end.
        before, after: how features are brought to unit length before a query is sampled, and the query after it; None
            where they are not. Without either the map holds dot products.
        enlarged: whether both maps are enlarged to the size of the original images, whose pixels are predicted.
        back: from the grid to the square. ``half_pixel``: X = (u + 0.5) p - 0.5; ``corners``:
            X = u (S - 1) / (n - 1); ``half_patch``: X = u p + p div 2; ``half_patch_less_half``: half a pixel less.
        predictors: sections of a recipe, with the released constants.
        preset: definition of a correct keypoint.
    """

    name: str
    source: str
    grid: Grid = "half_pixel"
    before: Unit | None = _UNIT
    after: Unit | None = _UNIT
    enlarged: bool = False
    back: Back = "half_pixel"
    predictors: tuple[Section, ...] = ()
    preset: str = "peftcorr"

    @property
    def between_cells(self) -> bool:
        """Whether a query is made of the features of the cells round it."""
        return self.grid != "cell" and not self.enlarged

    def kept(self, features: Tensor) -> Tensor:
        """Features (B, C, h, w) as they are kept until they are matched."""
        if self.before == _UNIT:
            return normalise(features)  # whose rounding the protocol's scores have
        return features if self.before is None else self.before.of(features, dim=-3)

    def to_grid(self, points: Floats, size: int, stride: int) -> Floats:
        """Positions (..., 2) in a square of side `size` as grid positions."""
        cells = size // stride
        if self.grid == "half_pixel":
            return (points + 0.5) / stride - 0.5
        if self.grid == "corners":
            return points * ((cells - 1) / (size - 1))
        scaled = points * cells / size
        return np.trunc(scaled) if self.grid == "cell" else scaled

    def from_grid(self, grid: Floats, size: int, stride: int) -> Floats:
        """Inverse of `to_grid` for grid positions (..., 2)."""
        cells = size // stride
        if self.grid == "half_pixel":
            return (grid + 0.5) * stride - 0.5
        return grid * ((size - 1) / (cells - 1) if self.grid == "corners" else size / cells)

    def queries(self, maps: Tensor, slot: Tensor, points: Floats, size: int, stride: int) -> Tensor:
        """Sample queries.

        Args:
            maps: of B images, as `kept` gives them, channels last, (B, h, w, C).
            slot: map of each query, (U,); ascending.
            points: its place in the square of side `size`, (U, 2).
            size, stride: of the square, and of a cell.

        Returns:
            (U, C).
        """
        height, width = maps.shape[1:3]
        if self.grid == "half_pixel" and self.before is not None:  # as training samples them
            return sample_at(maps.permute(0, 3, 1, 2), slot, torch.from_numpy(points), stride)
        grid, flat = self.to_grid(points, size, stride), maps.flatten(1, 2)
        slot = slot.to(maps.device)
        if self.grid == "cell":
            column, row = torch.from_numpy(grid.astype(np.int64)).to(maps.device).T
            cell = row * width + column
            cell = torch.where(cell < 0, cell + height * width, cell).clamp(0, height * width - 1)
            found = flat[slot, cell]
        else:
            found = _bilinear(flat, slot, np.clip(grid, 0, [width - 1, height - 1]), width)
        return found if self.after is None else self.after.of(found, dim=-1)

    def target(self, feature: Tensor) -> Tensor:
        """The map (h, w, C) of a target, from what was kept, that queries are multiplied with.

        Of enlarged maps it stays raw: unit length comes after the interpolation.
        """
        raw = self.before is None and self.after is not None and not self.enlarged
        return self.after.of(feature, dim=-1) if raw and self.after is not None else feature

    def to_frame(self, points: Floats, size: int, stride: int) -> Floats:
        """Points (..., 2) as predictors give them, (u + 0.5) p - 0.5, as positions in the square by this way back."""
        if self.back == "half_pixel":
            return points
        cells = size // stride
        grid = (points + 0.5) / stride - 0.5
        if self.back == "corners":
            return grid * ((size - 1) / max(cells - 1, 1))
        middle = stride // 2 - (0.5 if self.back == "half_patch_less_half" else 0.0)
        return np.clip(grid, 0, cells - 1) * stride + middle


def _bilinear(flat: Tensor, slot: Tensor, grid: Floats, width: int) -> Tensor:
    """Features (U, C) of maps (B, h w, C) at places (U, 2) between their first and last cells."""
    place = torch.from_numpy(grid)
    low, high = place.floor().long(), place.ceil().long()
    x, y = (place - low).float().to(flat.device).unsqueeze(-1).unbind(1)
    (left, above), (right, below) = low.to(flat.device).T, high.to(flat.device).T
    upper = flat[slot, above * width + left] * (1 - x) + flat[slot, above * width + right] * x
    lower = flat[slot, below * width + left] * (1 - x) + flat[slot, below * width + right] * x
    return upper * (1 - y) + lower * y


def _soft(beta: float) -> tuple[Section, ...]:
    """The predictors that SD4Match and what was built on it print."""
    kernel = {"name": "kernel_softmax", "sigma": 7.0, "beta": beta}
    return kernel, {"name": "argmax"}, {"name": "bilinear_argmax"}, {"name": "softargmax", "beta": beta}


def _window(radius: int) -> Section:
    return {"name": "window_softargmax", "radius": radius, "temperature": 50.0, "outside": "zero"}


PEFTCORR = Convention("peftcorr", "peftcorr's protocol")
CONVENTIONS = {
    convention.name: convention
    for convention in (
        PEFTCORR,
        Convention(
            "dift",
            "Tang et al., Emergent Correspondence from Image Diffusion, NeurIPS 2023",
            before=None,
            enlarged=True,
            predictors=({"name": "upsampled_argmax"},),
            preset="dift",
        ),
        Convention(
            "geoaware",
            "Zhang et al., Telling Left from Right, CVPR 2024",
            grid="cell",
            before=Unit(added=1e-10),
            after=None,
            back="half_patch",
            predictors=(
                _window(7),  # trained
                _window(5),  # zero-shot
                {"name": "argmax"},
            ),
            preset="geoaware",
        ),
        Convention(
            "sd_dino",
            "Zhang et al., A Tale of Two Features, NeurIPS 2023",
            grid="cell",
            before=Unit(added=1e-10),
            after=None,
            back="half_patch_less_half",
            predictors=({"name": "argmax"},),
            preset="geoaware",
        ),
        Convention(
            "sd4match",
            "Li et al., SD4Match, CVPR 2024",
            grid="corners",
            before=None,
            after=Unit(added=1e-6),
            back="corners",
            predictors=_soft(1 / 0.04),
            preset="sd4match",
        ),
        Convention(
            "visual_ai",
            "Visual-AI, Semantic Correspondence: Unified Benchmarking and a Strong Baseline",
            grid="corners",
            before=Unit(floor=1e-6),
            after=Unit(added=1e-6),
            back="corners",
            predictors=_soft(1 / 0.03),
            preset="visual_ai",
        ),
        Convention(
            "marco",
            "MARCO (visinf/MARCO)",
            grid="scaled",
            before=None,
            after=None,
            back="corners",
            predictors=({"name": "kernel_softmax", "sigma": 7.0, "beta": 0.1},),
            preset="marco",
        ),
    )
}


def convention_named(name: object) -> Convention:
    """Return the convention of that name.

    Raises:
        PeftCorrError: if there is none, with the nearest name.
    """
    if not isinstance(name, str) or name not in CONVENTIONS:
        raise PeftCorrError(f"Unknown convention {shown(name)}.{did_you_mean(str(name), CONVENTIONS)}")
    return CONVENTIONS[name]


def filled_in(recipe: Section) -> Section:
    """A recipe with what its convention decides: the preset, and the predictors where it names none.

    Raises:
        PeftCorrError: if there is no such convention, or the recipe wants something else than it.
    """
    name = recipe.get("convention", PEFTCORR.name)
    if name == PEFTCORR.name:
        return recipe
    convention = convention_named(name)
    if recipe.get("preset", convention.preset) != convention.preset:
        raise PeftCorrError(
            f"The convention {name} scores by the preset {convention.preset}: leave preset out, and score the saved "
            "predictions by others with peftcorr score --preset."
        )
    backbone = recipe.get("backbone")
    if isinstance(backbone, dict) and backbone.get("resize", "stretch") != "stretch":
        raise PeftCorrError(
            f"The convention {name} resizes images in its own way: leave backbone.resize out."
        )
    whole = {"predictors": list(convention.predictors), **recipe, "preset": convention.preset}
    given = whole["predictors"] if isinstance(whole["predictors"], list) else [whole["predictors"]]
    names = [section.get("name") if isinstance(section, dict) else section for section in given]
    own = [section["name"] for section in convention.predictors]
    if convention.enlarged and names != own:
        raise PeftCorrError(f"The convention {name} predicts by {own[0]} alone: leave predictors out.")
    if "bilinear_argmax" in names and not convention.between_cells:
        raise PeftCorrError(
            f"The predictor bilinear_argmax weighs the cells round a keypoint, and the convention {name} reads no "
            "feature between cells: leave the predictor out."
        )
    if "tuned" in names:
        raise PeftCorrError(
            "The predictor 'tuned' was chosen by peftcorr's own convention: name a radius and a temperature."
        )
    return whole

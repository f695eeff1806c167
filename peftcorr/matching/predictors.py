"""From a similarity map to a point. All of them work on any number of maps at once."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from peftcorr.matching.similarity import cell_centres


class Predictor(ABC):
    """Turns similarity maps into points. A plugin derives from it and defines `Config` and `predict`."""

    class Config(BaseModel):
        """Options of one entry of a recipe's ``predictors``."""

        model_config = ConfigDict(extra="forbid", frozen=True)

    points: int = 1  # for each map; a grid of settings predicts more, (points, ..., 2)

    def __init__(self, config: BaseModel):
        self.config = config

    @abstractmethod
    def predict(self, similarity: Tensor, stride: int) -> Tensor:
        """Predict points.

        Args:
            similarity: maps (..., h, w).
            stride: pixels per cell.

        Returns:
            x, y (..., 2), float64, in pixels of the input image, pixel centres on integers.
        """


class TargetPredictor(Predictor):
    """A predictor that looks at the target's features besides the similarity maps.

    A plugin defines `for_target` in place of `predict`.
    """

    @abstractmethod
    def for_target(self, feature: Tensor) -> Predictor:
        """The predictor for the maps of one target image; asked for once an image.

        Args:
            feature: the target's normalised map (h, w, C).
        """

    def predict(self, similarity: Tensor, stride: int) -> Tensor:
        """Refused: similarity maps alone do not tell where the point is.

        Raises:
            TypeError: always; `for_target` gives the predictor that can.
        """
        raise TypeError(f"{type(self).__name__} predicts by for_target(feature).predict(similarity, stride)")


class Argmax(Predictor):
    """The centre of the most similar cell."""

    def predict(self, similarity: Tensor, stride: int) -> Tensor:
        """See `Predictor.predict`."""
        peak, width = _peak(similarity), similarity.shape[-1]
        return (torch.stack((peak % width, peak // width), -1).double() + 0.5) * stride - 0.5


class BilinearArgmax(Argmax):
    """The peaks of the four cells round the keypoint, mixed by its bilinear weights (SD4Match, Visual-AI).

    A query is no average of features here, but each of the four cells whose features it would be made of is looked for
    by itself. `peftcorr.engine.corners` does so; a map on its own has its peak.
    """


class WindowSoftargmax(Predictor):
    """Softmax over a square window round the peak, everything outside at minus infinity (Men et al.)."""

    class Config(Predictor.Config):
        """Options of ``window_softargmax``; the defaults are Men et al.'s."""

        radius: int = Field(default=2, ge=0, description="cells on each side of the peak")
        temperature: float = Field(default=10.0, gt=0, description="tau: the map is multiplied by it")
        outside: Literal["minus_infinity", "zero"] = Field(
            default="minus_infinity",
            exclude_if=lambda value: value == "minus_infinity",
            description="what similarities outside the window become: no weight, or 0, which keeps the weight exp(0)",
        )

    config: Config

    def predict(self, similarity: Tensor, stride: int) -> Tensor:
        """See `Predictor.predict`.

        ``zero`` is what the code of GeoAware-SC (Zhang et al., CVPR 2024) does: every cell outside the window pulls the
        point a little towards the middle of the image.
        """
        if self.config.outside == "zero":
            return self._over_the_whole_map(similarity, stride)
        return window_round_peak(similarity, self.config.radius).mean(self.config.temperature, stride)

    def _over_the_whole_map(self, similarity: Tensor, stride: int) -> Tensor:
        height, width = similarity.shape[-2:]
        peak, radius = _peak(similarity), self.config.radius
        rows = torch.arange(height, device=similarity.device) - (peak // width).unsqueeze(-1)
        columns = torch.arange(width, device=similarity.device) - (peak % width).unsqueeze(-1)
        inside = (rows.abs() <= radius).unsqueeze(-1) & (columns.abs() <= radius).unsqueeze(-2)
        return expected_point(similarity.masked_fill(~inside, 0) * self.config.temperature, stride)


@dataclass(frozen=True)
class Window:
    """The n x n cells round each map's peak, n = 2 radius + 1.

    Attributes:
        values: similarities in float64, row by row, (..., n n); those outside the map mean nothing.
        inside: whether a cell lies on the map, (..., n, n).
        rows, columns: of the cells, (..., n).
    """

    values: Tensor
    inside: Tensor
    rows: Tensor
    columns: Tensor

    def mean(self, temperature: float, stride: int) -> Tensor:
        """x, y (..., 2): mean cell centre under softmax(temperature S), cells outside at minus infinity."""
        values = self.values * temperature
        weights = values.masked_fill(~self.inside.flatten(-2), -torch.inf).softmax(-1)
        weights = weights.view(self.inside.shape)
        x = (weights.sum(-2) * self.columns).sum(-1)
        y = (weights.sum(-1) * self.rows).sum(-1)
        return (torch.stack((x, y), -1) + 0.5) * stride - 0.5

    def inner(self, radius: int) -> Window:
        """The smaller window of `radius` round the same peaks."""
        side = self.rows.shape[-1]
        keep = slice(side // 2 - radius, side // 2 + radius + 1)
        values = self.values.view(self.inside.shape)[..., keep, keep].flatten(-2)
        return Window(values, self.inside[..., keep, keep], self.rows[..., keep], self.columns[..., keep])


def window_round_peak(similarity: Tensor, radius: int) -> Window:
    """Gather the window of each map (..., h, w)."""
    height, width = similarity.shape[-2:]
    peak = _peak(similarity)
    offsets = torch.arange(-radius, radius + 1, device=similarity.device)
    rows = (peak // width).unsqueeze(-1) + offsets
    columns = (peak % width).unsqueeze(-1) + offsets
    inside = _within(rows, height).unsqueeze(-1) & _within(columns, width).unsqueeze(-2)
    cells = rows.clamp(0, height - 1).unsqueeze(-1) * width + columns.clamp(0, width - 1).unsqueeze(-2)
    values = similarity.flatten(-2).gather(-1, cells.flatten(-2)).double()
    return Window(values, inside, rows, columns)


def _within(index: Tensor, count: int) -> Tensor:
    return (index >= 0) & (index < count)


class Softargmax(Predictor):
    """Softmax over the whole map."""

    class Config(Predictor.Config):
        """Options of ``softargmax``."""

        beta: float = Field(default=20.0, gt=0, description="the map is multiplied by it")

    config: Config

    def predict(self, similarity: Tensor, stride: int) -> Tensor:
        """See `Predictor.predict`."""
        return expected_point(similarity * self.config.beta, stride)


class KernelSoftmax(Predictor):
    """Softmax of the map times a Gaussian round its peak (kernel soft-argmax: Lee et al., SFNet, CVPR 2019)."""

    class Config(Predictor.Config):
        """Options of ``kernel_softmax``; sigma and beta default to SD4Match's and INSID3's 7 and 1 / 0.04.

        Both systems multiply the similarities by the Gaussian (``kernel_on: scores``), and their constants hold for
        that formula alone: on the weights the same pair loses several points of PCK.
        """

        sigma: float = Field(default=7.0, gt=0, description="of the Gaussian, in patches")
        beta: float = Field(default=25.0, gt=0, description="the map is multiplied by it before the softmax")
        kernel_on: Literal["weights", "scores"] = Field(
            default="scores",
            description="what the Gaussian multiplies: the similarities before the softmax, or its weights",
        )

    config: Config

    def predict(self, similarity: Tensor, stride: int) -> Tensor:
        """See `Predictor.predict`.

        ``scores`` is what the code of SD4Match (Li et al., CVPR 2024) and INSID3 does: far from the peak the
        similarity becomes 0, whose weight exp(0) is not, so that a whole map of such cells pulls the point to the
        middle of the image. ``weights`` fades them out.
        """
        height, width = similarity.shape[-2:]
        peak = _peak(similarity)
        rows = torch.arange(height, device=similarity.device) - (peak // width).unsqueeze(-1)
        columns = torch.arange(width, device=similarity.device) - (peak % width).unsqueeze(-1)
        distance = (rows**2).unsqueeze(-1) + (columns**2).unsqueeze(-2)
        fading = -distance.double() / (2 * self.config.sigma**2)
        if self.config.kernel_on == "scores":
            return expected_point(similarity * fading.exp() * self.config.beta, stride)
        return expected_point(similarity.double() * self.config.beta + fading, stride)


def expected_point(logits: Tensor, stride: int) -> Tensor:
    """Mean cell centre (..., 2) in float64 under softmax of logits (..., h, w)."""
    height, width = logits.shape[-2:]
    weights = logits.double().flatten(-2).softmax(-1).view(logits.shape)
    x = weights.sum(-2) @ cell_centres(width, stride, logits.device)
    y = weights.sum(-1) @ cell_centres(height, stride, logits.device)
    return torch.stack((x, y), -1)


def _peak(similarity: Tensor) -> Tensor:
    """Flat index (...) of each map's maximum."""
    return similarity.flatten(-2).argmax(-1)


def label(name: str, config: BaseModel) -> str:
    """Name of a configured predictor in scores and predictions, for example ``window_softargmax(radius=2,...)``."""
    options = ",".join(f"{key}={_short(value)}" for key, value in config.model_dump(mode="json").items())
    return f"{name}({options})" if options else name


def _short(value: object) -> str:
    if isinstance(value, str):
        return value
    return f"{value:g}" if type(value) in (int, float) else json.dumps(value)

"""From a similarity map to a point. All of them work on any number of maps at once."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from peftcorr.matching.similarity import cell_centres
from peftcorr.registry import Registry


class Predictor(ABC):
    """Turns similarity maps into points. A plugin derives from it and defines `Config` and `predict`."""

    class Config(BaseModel):
        """Options of one entry of a recipe's ``predictors``."""

        model_config = ConfigDict(extra="forbid", frozen=True)

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


PREDICTORS: Registry[Predictor] = Registry("predictor", "peftcorr.predictors", lambda: Predictor)


@PREDICTORS.register("argmax")
class Argmax(Predictor):
    """The centre of the most similar cell."""

    def predict(self, similarity: Tensor, stride: int) -> Tensor:
        """See `Predictor.predict`."""
        return _centres(_peak(similarity), similarity.shape[-1], stride)


@PREDICTORS.register("window_softargmax")
class WindowSoftargmax(Predictor):
    """Softmax over a square window round the peak, everything outside at minus infinity (Men et al.)."""

    class Config(Predictor.Config):
        """Options of ``window_softargmax``; the defaults are Men et al.'s."""

        radius: int = Field(default=2, ge=0, description="cells on each side of the peak")
        temperature: float = Field(default=10.0, gt=0, description="tau: the map is multiplied by it")

    config: Config

    def predict(self, similarity: Tensor, stride: int) -> Tensor:
        """See `Predictor.predict`."""
        height, width = similarity.shape[-2:]
        peak = _peak(similarity)
        offsets = torch.arange(-self.config.radius, self.config.radius + 1, device=similarity.device)
        rows = (peak // width).unsqueeze(-1) + offsets
        columns = (peak % width).unsqueeze(-1) + offsets
        inside = _within(rows, height).unsqueeze(-1) & _within(columns, width).unsqueeze(-2)
        cells = rows.clamp(0, height - 1).unsqueeze(-1) * width + columns.clamp(0, width - 1).unsqueeze(-2)
        values = similarity.flatten(-2).gather(-1, cells.flatten(-2)).double() * self.config.temperature
        weights = values.masked_fill(~inside.flatten(-2), -torch.inf).softmax(-1).view(cells.shape)
        x = (weights.sum(-2) * columns).sum(-1)
        y = (weights.sum(-1) * rows).sum(-1)
        return (torch.stack((x, y), -1) + 0.5) * stride - 0.5


def _within(index: Tensor, count: int) -> Tensor:
    return (index >= 0) & (index < count)


@PREDICTORS.register("softargmax")
class Softargmax(Predictor):
    """Softmax over the whole map."""

    class Config(Predictor.Config):
        """Options of ``softargmax``."""

        beta: float = Field(default=20.0, gt=0, description="the map is multiplied by it")

    config: Config

    def predict(self, similarity: Tensor, stride: int) -> Tensor:
        """See `Predictor.predict`."""
        return expected_point(similarity * self.config.beta, stride)


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


def _centres(index: Tensor, width: int, stride: int) -> Tensor:
    cells = torch.stack((index % width, index // width), -1).double()
    return (cells + 0.5) * stride - 0.5


def label(name: str, config: BaseModel) -> str:
    """Name of a configured predictor in scores and predictions, for example ``window_softargmax(radius=2,...)``."""
    options = ",".join(f"{key}={value:g}" for key, value in config.model_dump().items())
    return f"{name}({options})" if options else name

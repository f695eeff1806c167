"""The training loss: soft-argmax with mean squared distance (Men et al.), and cross-entropy to a Gaussian."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor


class LossConfig(BaseModel):
    """The two terms and their weights.

    ``distance`` is the squared distance, in patches, between the truth and the soft-argmax at ``beta``.
    ``cross_entropy`` compares softmax(``gaussian_beta`` S) with a Gaussian of ``sigma`` patches round the truth.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    distance: float = Field(default=0.02, ge=0)
    beta: float = Field(default=10.0, gt=0)
    cross_entropy: float = Field(default=1.0, ge=0)
    gaussian_beta: float = Field(default=6.0, gt=0)
    sigma: float = Field(default=0.7, gt=0)

    @model_validator(mode="after")
    def _some_term(self) -> LossConfig:
        if self.distance == 0 and self.cross_entropy == 0:
            raise ValueError("distance and cross_entropy are both 0: nothing would be trained")
        return self


def matching_loss(similarity: Tensor, truth: Tensor, config: LossConfig) -> Tensor:
    """Loss of each correspondence.

    Args:
        similarity: cosine similarity maps (M, h, w).
        truth: x, y (M, 2) in cells: cell (i, j) is centred at (j, i).
        config: terms and weights.

    Returns:
        Loss (M,), float32.
    """
    similarity = similarity.float()
    height, width = similarity.shape[-2:]
    truth = truth.to(similarity)
    columns = torch.arange(width, device=similarity.device, dtype=similarity.dtype)
    rows = torch.arange(height, device=similarity.device, dtype=similarity.dtype)
    flat = similarity.flatten(1)
    loss = torch.zeros(len(similarity), device=similarity.device)
    if config.distance:
        weights = (flat * config.beta).softmax(-1).view_as(similarity)
        x = weights.sum(1) @ columns
        y = weights.sum(2) @ rows
        loss = loss + config.distance * ((torch.stack((x, y), -1) - truth) ** 2).sum(-1)
    if config.cross_entropy:
        near_x = -((columns - truth[:, :1]) ** 2) / (2 * config.sigma**2)
        near_y = -((rows - truth[:, 1:]) ** 2) / (2 * config.sigma**2)
        target = (near_y.unsqueeze(2) + near_x.unsqueeze(1)).flatten(1).softmax(-1)
        loss = loss - config.cross_entropy * (target * (flat * config.gaussian_beta).log_softmax(-1)).sum(-1)
    return loss

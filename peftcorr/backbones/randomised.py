"""Random values for a whole model."""

from __future__ import annotations

from functools import partial
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def randomised(model: M, seed: int = 0) -> M:
    """The model with every parameter, and every running statistic, random: none at 0 or 1.

    Published initialisations leave biases at 0, norms and LayerScale at 1, and SAM's has features that are all but
    constant: on those nobody would see that a layer is skipped or applied twice.
    """
    random = partial(torch.rand, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = random(parameter.shape) - 0.5
            if parameter.dim() > 1 and name.endswith("weight"):
                parameter.copy_(12**0.5 * noise / parameter[0].numel() ** 0.5)
            elif name.endswith("gain") or (parameter.dim() == 1 and not name.endswith("bias")):
                parameter.copy_(1 + noise)
            else:
                parameter.copy_(noise)
        for name, buffer in model.named_buffers():
            if name.endswith("running_var"):
                buffer.copy_(0.5 + random(buffer.shape))
            elif name.endswith("running_mean"):
                buffer.copy_(random(buffer.shape) - 0.5)
    return model

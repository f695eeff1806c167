"""Small adapted backbones, and the optimiser steps that the strategies' tests take on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from peftcorr.backbones.dinov2 import Dinov2
from peftcorr.strategies import STRATEGIES, Strategy
from peftcorr.strategies.base import apply_checked
from tests.small_models import Small, build, images

UNFREEZING = ("last_k", "bitfit", "norm", "full")
INJECTED = ("lora", "adapter", "adaptformer", "ssf", "vpt")
TRAINED = (*UNFREEZING, *INJECTED, "head")


def adapt(
    weights: Path, name: str, cls: type[Dinov2] = Small, seed: int = 1, **options: Any
) -> tuple[Dinov2, Strategy]:
    """A freshly loaded backbone with a strategy applied, in evaluation mode."""
    backbone = build(cls, weights)
    made = STRATEGIES.get(name)
    strategy = made(made.Config(**options))
    torch.manual_seed(seed)
    apply_checked(strategy, backbone)
    backbone.eval()
    return backbone, strategy


def take_steps(backbone: Dinov2, steps: int = 2) -> None:
    """Optimiser steps without weight decay, which would move a tensor that no gradient reaches."""
    trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0)
    backbone.train()
    wanted = torch.randn(2, backbone.channels, 4, 4, generator=torch.Generator().manual_seed(7))
    for _ in range(steps):
        loss = ((backbone(images()) - wanted) ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    backbone.eval()


def acts_on_keys_alone(name: str) -> bool:
    """What is added to all keys adds the same to every logit of a softmax: its gradient is zero but for rounding."""
    return name.endswith(("k_proj.bias", "k_proj.base_layer.bias", "k_proj.shift"))

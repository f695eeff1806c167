"""Options with which each of peft's tuners fits the small backbones, and a small backbone with convolutions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from peftcorr.backbones.base import BlockSites
from tests.small_models import Small

OPTIONS: dict[str, dict[str, Any]] = {
    "dora": {"r": 4},
    "rslora": {"r": 4, "lora_alpha": 16},
    "adalora": {"init_r": 6, "target_r": 3},
    "loha": {"r": 3, "alpha": 6},
    "lokr": {"r": 2},
    "oft": {"oft_block_size": 8},
    "boft": {"boft_block_size": 8},
    "hra": {"r": 4},
    "ia3": {},
    "vera": {"r": 16},
    "fourierft": {"n_frequency": 50},
    "ln_tuning": {},
    "hira": {"r": 4},
    "delora": {"r": 4},
    "miss": {"r": 8},
    "road": {"group_size": 16},
    "c3a": {"block_size": 8},
}
CONVOLVING = ("lora", "dora", "rslora", "adalora", "loha", "lokr", "boft", "hra", "ia3")


class PatchConvolutions(nn.Sequential):
    """A 3x3 convolution after the patches' own, seen by transformers as one layer."""

    @property
    def weight(self) -> nn.Parameter:
        first: Any = self[0]
        return first.weight


class SmallConvolutions(Small):
    """Its first block has the role conv: a 3x3 convolution of the patches."""

    groups = 1
    dilation = 1

    def __init__(self, config: Small.Config, model: Any):
        patches = model.embeddings.patch_embeddings
        torch.manual_seed(5)
        second = nn.Conv2d(32, 32, 3, padding=self.dilation, groups=self.groups, dilation=self.dilation)
        patches.projection = PatchConvolutions(patches.projection, second)
        super().__init__(config, model)

    def sites(self) -> list[BlockSites]:
        first, *others = super().sites()
        names = ("model.embeddings.patch_embeddings.projection.1",)
        return [replace(first, linears={**first.linears, "conv": names}), *others]


class SmallGrouped(SmallConvolutions):
    groups = 4


class SmallDilated(SmallConvolutions):
    dilation = 2

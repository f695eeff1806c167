"""What every backbone gives, whatever library it comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from peftcorr.registry import Registry

ROLES = ("q", "k", "v", "out", "fc1", "fc2")


@dataclass(frozen=True)
class BlockSites:
    """Where a strategy may attach inside one transformer block; names are dotted, from the backbone down.

    Attributes:
        block: the block itself.
        width: channels D of the residual stream.
        linears: linear layers by role (`ROLES`); a gated MLP has two under ``fc1``.
        norm2: the norm before the MLP: its input is the residual stream.
        attention_output: module whose output is added to the stream after attention (after LayerScale).
        mlp_output: likewise after the MLP.
    """

    block: str
    width: int
    linears: dict[str, tuple[str, ...]]
    norm2: str
    attention_output: str
    mlp_output: str


@dataclass(frozen=True)
class TokenState:
    """The residual stream between two blocks: tokens (B, N, D) over a grid of `height` x `width` patches."""

    tokens: Tensor
    height: int
    width: int


@dataclass(frozen=True)
class Weights:
    """Where a backbone's weights come from: a local folder, or the official ones (`folder` is None).

    Attributes:
        id: name shown in records.
        sha256: hash of the weights file; None for weights that the hub has not been asked for yet.
        folder: folder with ``config.json`` and ``model.safetensors``.
    """

    id: str
    sha256: str | None
    folder: Path | None
    official: bool


class Backbone(nn.Module, ABC):
    """A frozen-by-default encoder from images to a feature map.

    Attributes:
        stride: pixels per feature cell.
        channels: C of the feature map.
        mean, std: per-channel statistics that `preprocess` applies to images in [0, 1].
        blocks_name: dotted name of the ordered container of blocks.
    """

    class Config(BaseModel):
        """Options of a recipe's ``backbone`` section."""

        model_config = ConfigDict(extra="forbid", frozen=True)
        image_size: int = Field(default=518, gt=0)
        resize: Literal["stretch", "pad"] = "stretch"

    hub_id: ClassVar[str | None] = None
    licence: ClassVar[str] = ""
    stride: int
    channels: int
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __init__(self, config: Config):
        super().__init__()
        self.config = config

    @classmethod
    @abstractmethod
    def embedded_weights(cls) -> Weights | None:
        """Weights that ship with the package, or None."""

    @classmethod
    @abstractmethod
    def build(cls, config: Config, weights: Weights | None) -> Backbone:
        """Build the backbone.

        Args:
            config: validated options.
            weights: what to load; None builds on the meta device, shapes alone, from nothing but the code.

        Raises:
            PeftCorrError: if the weights are missing, of another shape, or cannot be fetched.
        """

    @abstractmethod
    def blocks(self) -> Sequence[nn.Module]:
        """Blocks in order, up to the feature tap and no further."""

    @abstractmethod
    def sites(self) -> list[BlockSites]:
        """Attachment sites of each block, in order."""

    @abstractmethod
    def final_norm(self) -> nn.Module | None:
        """The norm between the last block and the feature map, if there is one."""

    @abstractmethod
    def prefix(self, images: Tensor, k: int) -> TokenState:
        """Run preprocessed images (B, 3, H, W) up to the entrance of block `k`."""

    @abstractmethod
    def suffix(self, state: TokenState, k: int) -> Tensor:
        """Run a state from block `k` on; returns features (B, C, h, w), un-normalised, float32."""

    def features(self, images: Tensor) -> Tensor:
        """Preprocessed images (B, 3, H, W) to features (B, C, h, w), un-normalised, float32."""
        return self.suffix(self.prefix(images, 0), 0)

    def forward(self, inputs: Tensor | TokenState, k: int = 0) -> Tensor:
        """Features of images, or of a state at the entrance of block `k` (what DDP wraps)."""
        return self.suffix(inputs, k) if isinstance(inputs, TokenState) else self.features(inputs)

    def preprocess(self, images: Tensor) -> Tensor:
        """uint8 images (B, 3, H, W) to normalised float32."""
        mean = torch.tensor(self.mean, device=images.device).view(1, 3, 1, 1) * 255
        std = torch.tensor(self.std, device=images.device).view(1, 3, 1, 1) * 255
        return (
            images.to(torch.float32, copy=True).sub_(mean).div_(std)
        )  # in place: half the time of three arrays

    def total_parameters(self) -> int:
        """Number of parameters that take part in the features."""
        return sum(parameter.numel() for parameter in self.parameters())

    def trainable_parameters(self) -> int:
        """Number of parameters that a strategy left trainable."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)


BACKBONES: Registry[Backbone] = Registry("backbone", "peftcorr.backbones", lambda: Backbone)

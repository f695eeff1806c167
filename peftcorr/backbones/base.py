"""What every backbone gives, whatever library it comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from peftcorr.backbones.identity import PUBLISHED, Weights, local_weights
from peftcorr.errors import PeftCorrError, RecipeFails

NEVER_TRAINED = "never_trained"
"""Attribute of modules that run without gradient whatever the strategy, such as an encoder of fixed prompts."""

ROLES = ("q", "k", "v", "out", "fc1", "fc2", "conv")


@dataclass(frozen=True)
class BlockSites:
    """Where a strategy may attach inside one block; names are dotted, from the backbone down.

    Attributes:
        block: the block itself.
        width: channels D of the residual stream where the block ends.
        parameters: how many the block has as it was pretrained.
        linears: linear layers by role (`ROLES`); a gated MLP has two under ``fc1``. Under ``conv`` are convolutions.
            Fused projections are split (`peftcorr.backbones.fused`), so that q, k and v are layers of their own.
        norm2: the norm before the MLP: its input is the residual stream, channels last. None where there is none.
        attention_output: module whose output, channels last, is added to the stream after attention (after
            LayerScale). None where there is none.
        mlp_output: likewise after the MLP.
    """

    block: str
    width: int
    parameters: int
    linears: dict[str, tuple[str, ...]]
    norm2: str | None = None
    attention_output: str | None = None
    mlp_output: str | None = None


@dataclass(frozen=True)
class TokenState:
    """What goes from one block to the next: of a transformer tokens (B, N, D) over `height` x `width` patches.

    Other families keep what they need in `tokens`, of any shape that begins with B and follows from the block and
    the image size alone.
    """

    tokens: Tensor
    height: int
    width: int

    def as_map(self, leading: int = 0) -> Tensor:
        """Tokens as a map of the patches (B, D, h, w), float32.

        Args:
            leading: how many tokens before the patches are left out.
        """
        patches = self.tokens[:, leading:].float()
        return patches.transpose(1, 2).reshape(len(patches), -1, self.height, self.width)


class Backbone(nn.Module, ABC):
    """A frozen-by-default encoder from images to a feature map.

    Attributes:
        hub_id, hub_files: repository of the weights, and which of its files are fetched.
        mirrored: whether that repository is a copy, and not the makers' own.
        stride: pixels per feature cell.
        channels: C of the feature map.
        model_name: of the model among those of its class, where options and tensors do not tell it.
        mean, std: per-channel statistics that `preprocess` applies to images in [0, 1].
        leading_tokens: tokens before the patches in the stream (class token and registers): prompts may be put
            after them. None where the stream is no sequence of tokens that all blocks attend to.
        uses_categories: whether features depend on the image's category, said to `condition` before each batch.
        pads_normalised: whether images are padded after normalising, so that padding is 0: with the option `resize` at
            ``pad``, `preprocess` is then told how far each image reaches.
        head: what the feature map goes through last; nothing, unless a strategy puts something there.
    """

    class Config(BaseModel):
        """Options of a recipe's ``backbone`` section."""

        model_config = ConfigDict(extra="forbid", frozen=True)
        image_size: int = Field(default=518, gt=0, description="side of the square input, in pixels")
        resize: Literal["stretch", "pad"] = Field(
            default="stretch", description="how an image becomes square: stretched, or padded"
        )
        layer: int | None = Field(
            default=None,
            ge=1,
            exclude_if=lambda layer: layer is None,
            description="features from after this many blocks; those beyond are neither run nor counted",
        )
        dtype: Literal["fp32", "bf16"] = Field(
            default="fp32",
            exclude_if=lambda dtype: dtype == "fp32",
            description="how large frozen weights are loaded and held; what is trained is float32 always",
        )

    hub_id: ClassVar[str | None] = None
    hub_files: ClassVar[tuple[str, ...]] = PUBLISHED
    mirrored: ClassVar[bool] = False
    licence: ClassVar[str] = ""
    leading_tokens: int | None = None
    uses_categories: bool = False
    pads_normalised: bool = False
    stride: int
    channels: int
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    model_name: str = ""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.head: nn.Module = nn.Identity()

    @classmethod
    def embedded_weights(cls) -> Weights | None:
        """Weights that ship with the package, or None."""
        return None

    @classmethod
    def find_weights(cls, config: Config, given: Path | None) -> Weights:
        """Where a backbone with these options will be loaded from, without asking the hub.

        Args:
            config: validated options.
            given: path given with ``--weights``; without it, what ships with the package, else the hub.

        Raises:
            PeftCorrError: if `given` holds no weights that this family can read.
        """
        if given is not None:
            return local_weights(given)
        return cls.embedded_weights() or Weights(
            cls.hub_id or cls.__name__, None, None, official=not cls.mirrored
        )

    @classmethod
    def members(cls, config: Config) -> list[tuple[type[Backbone], Backbone.Config]]:
        """Backbones that this one is made of, with their options; none of a plain one."""
        return []

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
    def tail(self, state: TokenState, k: int) -> Tensor:
        """Run a state from block `k` to the feature tap: (B, C', h, w), un-normalised, float32, before the head."""

    def condition(self, categories: Sequence[str]) -> None:
        """Say of which category each image of the next batches is, for `prefix`; what it gives keeps it for `tail`.

        Only backbones with `uses_categories` listen.
        """

    def suffix(self, state: TokenState, k: int) -> Tensor:
        """Run a state from block `k` on; returns features (B, C, h, w), un-normalised, float32."""
        features: Tensor = self.head(self.tail(state, k))
        return features

    def features(self, images: Tensor) -> Tensor:
        """Preprocessed images (B, 3, H, W) to features (B, C, h, w), un-normalised, float32."""
        return self.suffix(self.prefix(images, 0), 0)

    def forward(self, inputs: Tensor | TokenState, k: int = 0) -> Tensor:
        """Features of images, or of a state at the entrance of block `k` (what DDP wraps)."""
        return self.suffix(inputs, k) if isinstance(inputs, TokenState) else self.features(inputs)

    def save_pretrained(self, folder: Path) -> None:
        """Write the model, without anything injected, in the format that its own library loads.

        Args:
            folder: where; it exists and is empty.

        Raises:
            PeftCorrError: if this family has no such format.
        """
        raise PeftCorrError(f"{type(self).__name__} cannot be exported: keep the adapter beside the model.")

    def preprocess(self, images: Tensor, extents: Sequence[tuple[int, int]] | None = None) -> Tensor:
        """uint8 images (B, 3, H, W) to normalised float32.

        Args:
            images: squares, padded with black where they are padded.
            extents: (w, h) of the part of each that is no padding, from the top left; what is beyond becomes 0. None,
                as for every backbone without `pads_normalised`, normalises all of it.
        """
        mean = torch.tensor(self.mean, device=images.device).view(1, 3, 1, 1) * 255
        std = torch.tensor(self.std, device=images.device).view(1, 3, 1, 1) * 255
        # in place: half the time of three arrays
        normalised = images.to(torch.float32, copy=True).sub_(mean).div_(std)
        return normalised if extents is None else fill_padding(normalised, extents, 0)

    def tapped(self, depth: int) -> int:
        """How many of `depth` blocks run: all, or as many as the option `layer` says.

        Raises:
            RecipeFails: if there are fewer.
        """
        layer = self.config.layer
        if layer is not None and layer > depth:
            raise RecipeFails(
                f"backbone.layer is {layer}, but this backbone has {depth} blocks: choose 1 to {depth}."
            )
        return depth if layer is None else layer

    def total_parameters(self) -> int:
        """Number of parameters that take part in the features."""
        return sum(parameter.numel() for parameter in self.parameters())

    def trainable_parameters(self) -> int:
        """Number of parameters that a strategy left trainable."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)


class BlockRow(Backbone):
    """A backbone whose blocks run one after the other, each on the tensor that the one before gave.

    Subclasses say what enters the first block and what is read off the last, and fill `_sites` in their constructor,
    before a strategy adds anything.
    """

    _sites: list[BlockSites]

    def sites(self) -> list[BlockSites]:
        """See `Backbone.sites`."""
        return self._sites

    @abstractmethod
    def _enter(self, images: Tensor) -> Tensor:
        """Preprocessed images (B, 3, H, W) to what enters the first block."""

    @abstractmethod
    def _read(self, state: TokenState) -> Tensor:
        """What leaves the last block to features (B, C', h, w)."""

    def _run(self, state: TokenState, start: int, end: int | None = None) -> TokenState:
        """Run blocks `start` to `end` (excluded)."""
        tokens = state.tokens
        for block in self.blocks()[start:end]:
            tokens = block(tokens)
        return replace(state, tokens=tokens)

    def prefix(self, images: Tensor, k: int) -> TokenState:
        """See `Backbone.prefix`."""
        height, width = images.shape[-2] // self.stride, images.shape[-1] // self.stride
        return self._run(TokenState(self._enter(images), height, width), 0, k)

    def tail(self, state: TokenState, k: int) -> Tensor:
        """See `Backbone.tail`; of an earlier block than the last too, the features go through the final norm."""
        return self._read(self._run(state, k)).float()


def fill_padding(images: Tensor, extents: Sequence[tuple[int, int]], value: Tensor | float) -> Tensor:
    """Give what lies beyond the extent (w, h) of each image (B, C, H, W) a value, in place; returns them."""
    for image, (width, height) in zip(images, extents, strict=True):
        image[:, height:] = value
        image[:, :, width:] = value
    return images


def check_size(size: int, stride: int) -> None:
    """Refuse an image size that the feature grid does not divide.

    Raises:
        RecipeFails: if it is not a multiple of the stride.
    """
    if size % stride:
        near = max(1, round(size / stride)) * stride
        raise RecipeFails(
            f"--image-size {size} is not a multiple of this backbone's stride {stride}: use {near}."
        )


def parameters_of(module: nn.Module) -> int:
    """Number of parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def sites_of(
    backbone: nn.Module, block: str, width: int, linears: Mapping[str, Iterable[str]], **places: str | None
) -> BlockSites:
    """Sites of a block as it is now.

    Args:
        backbone: what the block is in.
        block: its name, from the backbone down.
        width: channels where it ends.
        linears: layers by role, named from the block down.
        places: the other places of `BlockSites`, likewise.
    """
    return BlockSites(
        block=block,
        width=width,
        parameters=parameters_of(backbone.get_submodule(block)),
        linears={role: tuple(f"{block}.{name}" for name in names) for role, names in linears.items()},
        **{place: None if name is None else f"{block}.{name}" for place, name in places.items()},
    )

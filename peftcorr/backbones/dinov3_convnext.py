"""The ConvNeXts of DINOv3, distilled from its ViT-7B.

Siméoni et al., "DINOv3", 2025 (arXiv:2508.10104); Liu et al., "A ConvNet for the 2020s", CVPR 2022. The layers are
those of transformers, with the shapes that its conversion of the published checkpoints prescribes; timm's
``convnext_*`` have the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import transformers
from pydantic import Field
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone, TokenState, sites_of
from peftcorr.backbones.huggingface import HuggingFace, published
from peftcorr.backbones.release import Names
from peftcorr.errors import PeftCorrError


@dataclass(frozen=True)
class Variant:
    """The shape of one published model: channels and layers of each stage."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]

    def stage(self, block: int) -> int:
        """Index of the stage that a block belongs to."""
        return next(stage for stage in range(len(self.depths)) if block < sum(self.depths[: stage + 1]))

    def stride(self, block: int) -> int:
        """Pixels per cell after a block: 4 in the first stage, and twice as many in each that follows."""
        return 4 << self.stage(block)


class ConvNextBlock(nn.Module):
    """One ConvNeXt layer, behind the downsampling if it is the first of its stage.

    Args:
        downsampling: what the stage begins with (the stem, in the first); nothing for its other layers.
        layer: depthwise convolution, norm and two pointwise layers around a residual connection.
    """

    def __init__(self, downsampling: Iterable[nn.Module], layer: nn.Module):
        super().__init__()
        self.downsampling = nn.Sequential(*downsampling)
        self.layer = layer

    def forward(self, features: Tensor) -> Tensor:
        """Channels first in and out; a downsampling changes channels, height and width."""
        adapted: Tensor = self.layer(self.downsampling(features))
        return adapted


class Dinov3ConvNext(HuggingFace):
    """A DINOv3 ConvNeXt; features are the last stage's map after the final norm.

    A block is a layer, not a stage: the last stage alone is half of the model, too coarse a step for strategies that
    choose blocks. Each downsampling belongs to the block that it feeds, so that every block has the same roles and
    a state at the entrance of a block is the map that the block before it gave: `TokenState.tokens` is that map
    (B, C, h, w), and the images themselves before block 0.

    With `layer` inside an earlier stage the map is that stage's, finer and without a norm: the model has one for
    its last stage only.

    `sites` has no attention; the norm reads the depthwise convolution's output instead of the residual stream, and
    what is added to the stream is the output of no module that has channels last: those places are None.
    """

    class Config(Backbone.Config):
        """Options of the ``dinov3_convnext`` backbones."""

        image_size: int = Field(
            default=512,
            gt=0,
            description="side of the square input, in pixels, a multiple of 32; 512 gives a map of 16 x 16",
        )

    variant: ClassVar[Variant]
    licence = "DINOv3 License"

    def __init__(self, config: Backbone.Config, model: Any):
        super().__init__(config, model)
        depth = self.tapped(sum(self.variant.depths))
        layers = [
            ConvNextBlock(stage.downsample_layers if index == 0 else (), layer)
            for stage in model.model.stages
            for index, layer in enumerate(stage.layers)
        ]
        for block in layers:
            block.layer.drop_path = nn.Identity()  # a frozen backbone drops nothing, whatever mode it is in
        self.trunk = nn.ModuleList(layers[:depth])
        last = self.variant.stage(depth - 1)
        has_norm = last == len(self.variant.depths) - 1
        self.norm: nn.Module | None = model.layer_norm if has_norm else None
        self.requires_grad_(False)
        self.stride = self.variant.stride(depth - 1)
        self.channels = self.variant.widths[last]
        self._sites = [
            sites_of(
                self,
                f"trunk.{index}",
                self.variant.widths[self.variant.stage(index)],
                {
                    "fc1": ("layer.pointwise_conv1",),
                    "fc2": ("layer.pointwise_conv2",),
                    "conv": ("layer.depthwise_conv",),
                },
            )
            for index in range(depth)
        ]

    @classmethod
    def settings(cls) -> tuple[type[Any], dict[str, Any]]:
        """See `HuggingFace.settings`."""
        return transformers.DINOv3ConvNextModel, {
            "hidden_sizes": list(cls.variant.widths),
            "depths": list(cls.variant.depths),
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-6,
            "num_channels": 3,
        }

    @classmethod
    def release(cls) -> Names:
        """See `HuggingFace.release`."""
        return Names(
            makers="Meta",
            renamed={
                r"^model\.stages\.(\d+)\.downsample_layers\.": r"downsample_layers.\1.",
                r"^model\.stages\.(\d+)\.layers\.": r"stages.\1.",
                r"\.depthwise_conv\.": ".dwconv.",
                r"\.pointwise_conv(\d)\.": r".pwconv\1.",
                r"(^|\.)layer_norm\.": r"\1norm.",
            },
            unread=re.compile(r"^norms\.3\."),  # the final norm a second time
        )

    @classmethod
    def stride_of(cls, config: Backbone.Config) -> int:
        """See `HuggingFace.stride_of`: of the last layer that runs."""
        depth = sum(cls.variant.depths)
        return cls.variant.stride(min(config.layer or depth, depth) - 1)

    def blocks(self) -> Sequence[nn.Module]:
        """The layers of all stages, each with the downsampling before it."""
        return list(self.trunk)

    def final_norm(self) -> nn.Module | None:
        """The LayerNorm after the last stage; None if the features are of an earlier one."""
        return self.norm

    def _plain(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        if self.config.layer is not None:
            raise PeftCorrError(
                "A ConvNeXt with backbone.layer cannot be exported: transformers has no such model."
            )
        assert self.norm is not None
        tensors = {f"layer_norm.{name}": tensor for name, tensor in self.norm.state_dict().items()}
        for index, block in enumerate(self.trunk):
            assert isinstance(block, ConvNextBlock)
            stage = self.variant.stage(index)
            within = index - sum(self.variant.depths[:stage])
            for part, name in (
                (block.downsampling, f"model.stages.{stage}.downsample_layers"),
                (block.layer, f"model.stages.{stage}.layers.{within}"),
            ):
                tensors |= {f"{name}.{key}": tensor for key, tensor in part.state_dict().items()}
        return tensors, {}

    def _enter(self, images: Tensor) -> Tensor:
        return images

    def _read(self, state: TokenState) -> Tensor:
        features = state.tokens
        if self.norm is not None:
            features = self.norm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return features


def _published(name: str, variant: Variant) -> type[Dinov3ConvNext]:
    hub_id = f"facebook/dinov3-convnext-{name.lower()}-pretrain-lvd1689m"
    title = f"DINOv3 ConvNeXt-{name[0]}."
    return published(Dinov3ConvNext, f"Dinov3ConvNext{name}", title, hub_id, variant)


Dinov3ConvNextTiny = _published("Tiny", Variant((96, 192, 384, 768), (3, 3, 9, 3)))
Dinov3ConvNextSmall = _published("Small", Variant((96, 192, 384, 768), (3, 3, 27, 3)))
Dinov3ConvNextBase = _published("Base", Variant((128, 256, 512, 1024), (3, 3, 27, 3)))
Dinov3ConvNextLarge = _published("Large", Variant((192, 384, 768, 1536), (3, 3, 27, 3)))

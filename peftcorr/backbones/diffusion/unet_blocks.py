"""The UNet of Stable Diffusion as a chain of blocks, up to a feature tap.

diffusers groups the layers by resolution, several transformer blocks to a group. Here a block is what surrounds one
transformer block: the residual convolutions that lead to it, and the change of resolution after it. So every block
has the places that strategies attach to, exactly once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Layer:
    """One layer of the UNet in the order of execution.

    Attributes:
        kind: ``resnet``, ``transformer``, ``downsampler`` or ``upsampler``.
        takes: whether it reads the skip connection that was given last, along the channels of its input.
        gives: whether its output is a skip connection.
        closes: whether it belongs to the layers before it, whatever they are.
    """

    kind: str
    module: Any
    takes: bool = False
    gives: bool = False
    closes: bool = False


@dataclass(frozen=True)
class Map:
    """A feature map that goes from one block to the next: its channels, and how often it was halved."""

    channels: int
    level: int


class UNetBlock(nn.Module):
    """The layers around one transformer block.

    Args:
        layers: in the order of execution; children are named after their kind, and numbered where a kind recurs.
    """

    def __init__(self, layers: Sequence[Layer]):
        super().__init__()
        self._plan: list[tuple[str, Layer]] = []  # without their modules, which are children
        counts: dict[str, int] = {}
        for layer in layers:
            number = counts[layer.kind] = counts.get(layer.kind, -1) + 1
            name = layer.kind if layer.kind == "transformer" else f"{layer.kind}{number}"
            self.add_module(name, layer.module)
            self._plan.append((name, replace(layer, module=None)))

    def named_layers(self, kind: str) -> list[str]:
        """Names of the children of a kind, in order."""
        return [name for name, layer in self._plan if layer.kind == kind]

    def forward(
        self, hidden: Tensor, skips: Sequence[Tensor], time: Tensor, text: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Hidden map (B, C, h, w) and open skip connections to those behind the block.

        Args:
            time: embedding of the timestep (1, D).
            text: embedding of the prompt (B, T, D').
        """
        open_skips = list(skips)
        for name, layer in self._plan:
            module = self.get_submodule(name)
            if layer.takes:
                hidden = torch.cat([hidden, open_skips.pop()], dim=1)
            if layer.kind == "resnet":
                hidden = module(hidden, time)
            elif layer.kind == "transformer":
                hidden = module(hidden, encoder_hidden_states=text, return_dict=False)[0]
            else:
                hidden = module(hidden)
            if layer.gives:
                open_skips.append(hidden.contiguous())
        return hidden.contiguous(), open_skips


class TappedUNet(nn.Module):
    """A UNet up to the end of one of its up blocks; what lies beyond is dropped.

    Args:
        unet: diffusers' ``UNet2DConditionModel``, whose layers are taken over.
        up_block: index of the up block whose output is the feature map.
        timestep: of the diffusion; its embedding enters every residual convolution.
        depth: how many blocks are kept, given how many lead to the tap.

    Attributes:
        blocks: in the order of execution.
        maps: the hidden map and the open skip connections at the entrance of each block, and behind the last.
        text_width: channels of the prompt's embedding.
    """

    def __init__(self, unet: Any, up_block: int, timestep: int, depth: Callable[[int], int]):
        super().__init__()
        self.conv_in = unet.conv_in
        self.time_proj = unet.time_proj
        self.time_embedding = unet.time_embedding
        self._timestep = timestep
        self.text_width: int = unet.config.cross_attention_dim
        groups = _grouped(list(_layers(unet, up_block)))
        groups = _without_spare_skips(groups[: depth(len(groups))])
        self.blocks = nn.ModuleList(UNetBlock(group) for group in groups)
        stem = Map(self.conv_in.out_channels, 0)
        # Skips are read last in, first out: the stem's is read only if all are.
        layers = [layer for group in groups for layer in group]
        self._stem_gives = sum(layer.takes for layer in layers) > sum(layer.gives for layer in layers)
        self.maps = _maps(stem, self._stem_gives, groups)

    def stem(self, latents: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Latents (B, 4, h, w) to the hidden map and the skip connections at the entrance of the first block."""
        hidden = self.conv_in(latents).contiguous()
        return hidden, [hidden] if self._stem_gives else []

    def time(self, like: Tensor) -> Tensor:
        """Embedding (1, D) of the timestep, on the device and of the type of `like`."""
        timestep = torch.full((1,), self._timestep, device=like.device)
        embedded: Tensor = self.time_embedding(self.time_proj(timestep).to(like.dtype))
        return embedded

    def run(
        self, hidden: Tensor, skips: Sequence[Tensor], text: Tensor, start: int, end: int | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Run blocks `start` to `end` (excluded)."""
        time, open_skips = self.time(text), list(skips)
        for block in self.blocks[start:end]:
            hidden, open_skips = block(hidden, open_skips, time, text)
        return hidden, open_skips

    def pack(self, hidden: Tensor, skips: Sequence[Tensor], text: Tensor) -> Tensor:
        """All that goes from one block to the next, as rows (B, F).

        Args:
            hidden: (B E, C, h, w), the E samples of an image after each other; `skips` likewise.
            text: (B, T, D).
        """
        rows = [part.reshape(len(text), -1) for part in (hidden, *skips, text)]
        return torch.cat(rows, dim=1)

    def unpack(
        self, rows: Tensor, k: int, height: int, width: int, samples: int
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """What `pack` was given at the entrance of block `k`, of latents `height` x `width` with `samples` an image."""
        parts, start = [], 0
        for part in self.maps[k]:
            shape = (samples, part.channels, height >> part.level, width >> part.level)
            size = shape[0] * shape[1] * shape[2] * shape[3]
            # Contiguous, as blocks leave them: another layout may be summed in another order.
            parts.append(rows[:, start : start + size].reshape(-1, *shape[1:]).contiguous())
            start += size
        text = rows[:, start:].reshape(len(rows), -1, self.text_width)
        return parts[0], parts[1:], text


def _layers(unet: Any, up_block: int) -> Iterator[Layer]:
    """Layers in the order that diffusers runs them in, to the end of an up block."""
    for down in unet.down_blocks:
        transformers = getattr(down, "attentions", None)
        for index, resnet in enumerate(down.resnets):
            yield Layer("resnet", resnet, gives=transformers is None)
            if transformers is not None:
                yield Layer("transformer", transformers[index], gives=True)
        for sampler in down.downsamplers or ():
            yield Layer("downsampler", sampler, gives=True, closes=True)
    middle = unet.mid_block
    yield Layer("resnet", middle.resnets[0])
    for transformer, resnet in zip(middle.attentions, middle.resnets[1:], strict=True):
        yield Layer("transformer", transformer)
        yield Layer("resnet", resnet, closes=True)
    for up in unet.up_blocks[: up_block + 1]:
        transformers = getattr(up, "attentions", None)
        for index, resnet in enumerate(up.resnets):
            yield Layer("resnet", resnet, takes=True)
            if transformers is not None:
                yield Layer("transformer", transformers[index])
        for sampler in up.upsamplers or ():
            yield Layer("upsampler", sampler, closes=True)


def _grouped(layers: Sequence[Layer]) -> list[list[Layer]]:
    """Layers by block: a new one begins with the first residual convolution after a transformer.

    Convolutions without a transformer of their own go with the next one, and with the last where none follows.
    """
    groups: list[list[Layer]] = [[]]
    for layer in layers:
        complete = any(other.kind == "transformer" for other in groups[-1])
        if complete and not layer.closes and layer.kind == "resnet":
            groups.append([])
        groups[-1].append(layer)
    if len(groups) > 1 and not any(layer.kind == "transformer" for layer in groups[-1]):
        rest = groups.pop()
        groups[-1].extend(rest)
    return groups


def _without_spare_skips(groups: Sequence[Sequence[Layer]]) -> list[list[Layer]]:
    """The blocks without the skip connections that only a layer beyond the tap would read: the first ones given."""
    layers = [layer for group in groups for layer in group]
    spare = 1 + sum(layer.gives for layer in layers) - sum(layer.takes for layer in layers)
    given = 1  # by the stem
    kept: list[list[Layer]] = []
    for group in groups:
        kept.append([])
        for layer in group:
            kept[-1].append(replace(layer, gives=layer.gives and given >= spare))
            given += layer.gives
    return kept


def _maps(stem: Map, stem_gives: bool, groups: Sequence[Sequence[Layer]]) -> list[list[Map]]:
    """The hidden map and the open skip connections at the entrance of each block, and behind the last."""
    hidden, skips = stem, [stem] if stem_gives else []
    maps = [[hidden, *skips]]
    for group in groups:
        for layer in group:
            if layer.takes:
                skips = skips[:-1]
            if layer.kind == "resnet":
                hidden = Map(layer.module.out_channels, hidden.level)
            elif layer.kind == "downsampler":
                hidden = Map(layer.module.out_channels, hidden.level + 1)
            elif layer.kind == "upsampler":
                hidden = Map(layer.module.out_channels, hidden.level - 1)
            if layer.gives:
                skips = [*skips, hidden]
        maps.append([hidden, *skips])
    return maps

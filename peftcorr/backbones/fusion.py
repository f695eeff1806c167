"""Several backbones as one: their feature maps, each normalised and weighted, one after another along the channels.

Zhang et al., "A Tale of Two Features: Stable Diffusion Complements DINO for Zero-Shot Semantic Correspondence",
NeurIPS 2023, fuse two: similarities are then sums of the parts' cosine similarities, with their squared shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, ValidationError, model_validator
from torch import Tensor, nn

from peftcorr.backbones import BACKBONES
from peftcorr.backbones.base import Backbone, BlockSites, TokenState, fill_padding
from peftcorr.backbones.identity import Weights, joined
from peftcorr.errors import PeftCorrError, shown
from peftcorr.matching.similarity import normalise

Part = dict[str, Any]
Extents = Sequence[tuple[int, int]]

_OWN = ("name", "weight", "weights")  # keys of a part that are not its backbone's
_SHARED = ("resize",)  # options that the whole has, and every part with it

# DINOv2 first, so that its map is the grid; at 840 and 960 pixels both have 60 x 60 cells, as in the paper.
_PAPER_SIZE = 840
_PAPER: list[Part] = [{"name": "dinov2_vitb14"}, {"name": "sd15", "image_size": 960}]


class Fusion(Backbone):
    """Two or more backbones side by side.

    Images come at the first part's size, and the features have its grid. Every other part sees them resized to its own
    `image_size`; where its grid is another, its map is resized bilinearly (choose sizes with equal grids to avoid
    it). Blocks are those of the first part, then those of the second, and so on: a state at block `k` holds one state
    of each part, at its end, at its block, or at its entrance.
    """

    class Config(Backbone.Config):
        """Options of ``fusion``."""

        image_size: int = Field(
            default=_PAPER_SIZE, gt=0, description="side of the square input, in pixels; the first part's too"
        )
        parts: list[Part] = Field(
            default=_PAPER,
            min_length=2,
            description="backbones by name with their own options; weight: share of the part; weights: its folder, "
            "below --weights if that is given",
        )

        @model_validator(mode="before")
        @classmethod
        def _complete(cls, values: Any) -> Any:
            """Write every option of every part out, checked by its own backbone.

            Raises:
                PeftCorrError: naming the part.
            """
            if "parts" not in values:
                values = {"image_size": _PAPER_SIZE, **values, "parts": _PAPER}
            parts = values["parts"]
            if not isinstance(parts, list) or not parts:
                return values  # pydantic says what is wrong with it
            if values.get("layer") is not None:
                raise PeftCorrError(
                    "backbone.layer of a fusion is one of each part: write it in backbone.parts."
                )
            resize = values.get("resize", "stretch")
            if values.get("dtype", "fp32") != "fp32":
                raise PeftCorrError(
                    "backbone.dtype of a fusion is one of each part: write it in backbone.parts."
                )
            complete = [_completed(part, index, resize) for index, part in enumerate(parts)]
            size = values.get("image_size", complete[0]["image_size"])
            given = parts[0].get("image_size", size) if isinstance(parts[0], dict) else size
            if given != size:
                raise PeftCorrError(
                    f"backbone.parts[0].image_size is {given}, but the whole's image size, which is the same, is "
                    f"{size}: leave one of them out."
                )
            complete[0] = _completed({**_options_of(parts[0]), "image_size": size}, 0, resize)
            return {**values, "image_size": size, "parts": complete}

    config: Config
    mean = (0.0, 0.0, 0.0)
    std = (1.0, 1.0, 1.0)

    def __init__(self, config: Config, parts: Sequence[Backbone]):
        super().__init__(config)
        self.parts = nn.ModuleList(parts)
        self.stride = parts[0].stride
        self.channels = sum(part.channels for part in parts)
        self.uses_categories = any(part.uses_categories for part in parts)
        self.pads_normalised = any(part.pads_normalised for part in parts)
        self._extents: Extents | None = None
        weights = [float(part["weight"]) for part in config.parts]
        self._shares = [weight / sum(weights) for weight in weights]
        self._shapes: dict[tuple[int, int, int], list[_Shape]] = {}

    @classmethod
    def find_weights(cls, config: Backbone.Config, given: Path | None) -> Weights:
        """See `Backbone.find_weights`: each part's, and a hash of their hashes if all are known."""
        assert isinstance(config, Fusion.Config)
        folders = [
            None if part["weights"] is None else (given or Path()) / part["weights"] for part in config.parts
        ]
        if given is not None and not any(folders):
            raise PeftCorrError(
                f"--weights {given}: a fusion reads backbone.parts[i].weights below it, but no part has any: write "
                "them there."
            )
        found = []
        for index, (part, folder) in enumerate(zip(config.parts, folders, strict=True)):
            backbone, options = _backbone_of(part, index, config.resize)
            try:
                found.append(backbone.find_weights(options, folder))
            except PeftCorrError as error:
                raise type(error)(f"backbone.parts[{index}]: {error}") from error
        return joined(found)

    @classmethod
    def members(cls, config: Backbone.Config) -> list[tuple[type[Backbone], Backbone.Config]]:
        """See `Backbone.members`."""
        assert isinstance(config, Fusion.Config)
        return [_backbone_of(part, index, config.resize) for index, part in enumerate(config.parts)]

    @classmethod
    def build(cls, config: Backbone.Config, weights: Weights | None) -> Fusion:
        """See `Backbone.build`."""
        assert isinstance(config, Fusion.Config)
        parts = []
        for index, part in enumerate(config.parts):
            backbone, options = _backbone_of(part, index, config.resize)
            try:
                parts.append(backbone.build(options, None if weights is None else weights.parts[index]))
            except PeftCorrError as error:
                raise type(error)(f"backbone.parts[{index}]: {error}") from error
        return cls(config, parts)

    def requires_grad_(self, requires_grad: bool = True) -> Fusion:
        """As every module's, but a part may keep what it never trains."""
        for part in self.parts:
            part.requires_grad_(requires_grad)
        self.head.requires_grad_(requires_grad)
        return self

    def blocks(self) -> Sequence[nn.Module]:
        """The blocks of the first part, then those of the second, and so on."""
        return [block for part in self._each() for block in part.blocks()]

    def sites(self) -> list[BlockSites]:
        """See `Backbone.sites`."""
        return [
            _below(f"parts.{index}.", site)
            for index, part in enumerate(self._each())
            for site in part.sites()
        ]

    def final_norm(self) -> nn.Module | None:
        """The last part's, whose blocks are the last."""
        return self._each()[-1].final_norm()

    def condition(self, categories: Sequence[str]) -> None:
        """See `Backbone.condition`."""
        for part in self._each():
            part.condition(categories)

    def preprocess(self, images: Tensor, extents: Extents | None = None) -> Tensor:
        """See `Backbone.preprocess`; extents are kept for `prefix`, since every part pads in its own way."""
        self._extents = extents
        return super().preprocess(images)

    def prefix(self, images: Tensor, k: int) -> TokenState:
        """See `Backbone.prefix`; a state can be read by the backbone that made it, which knows the parts' shapes."""
        height, width = images.shape[-2] // self.stride, images.shape[-1] // self.stride
        extents, self._extents = self._extents, None  # of these images alone
        states = [
            part.prefix(self._seen_by(index, images, extents), own)
            for index, (part, own) in enumerate(zip(self._each(), self._depths(k), strict=True))
        ]
        self._shapes[k, height, width] = [
            (state.tokens.shape[1:], state.height, state.width) for state in states
        ]
        return TokenState(torch.cat([state.tokens.flatten(1) for state in states], 1), height, width)

    def tail(self, state: TokenState, k: int) -> Tensor:
        """See `Backbone.tail`: maps of unit length in each cell, times their part's share."""
        maps, start = [], 0
        shapes = self._shapes[k, state.height, state.width]
        for part, own, share, (shape, height, width) in zip(
            self._each(), self._depths(k), self._shares, shapes, strict=True
        ):
            rows = state.tokens[:, start : start + shape.numel()]
            start += shape.numel()
            features = part.tail(TokenState(rows.reshape(-1, *shape).contiguous(), height, width), own)
            if features.shape[-2:] != (state.height, state.width):
                features = nn.functional.interpolate(
                    features, (state.height, state.width), mode="bilinear", align_corners=False
                )
            maps.append(share * normalise(features))
        return torch.cat(maps, 1)

    def _each(self) -> list[Backbone]:
        return [part for part in self.parts if isinstance(part, Backbone)]

    def _depths(self, k: int) -> list[int]:
        """How many blocks of each part come before block `k` of all."""
        depths = []
        for part in self._each():
            count = len(part.blocks())
            depths.append(min(max(k, 0), count))
            k -= count
        return depths

    def _seen_by(self, index: int, images: Tensor, extents: Extents | None = None) -> Tensor:
        """Images in [0, 1] as a part wants them: of its size, normalised by its statistics and padded in its way.

        The part's size is that of square inputs; others keep their proportion, to whole cells of the part.
        """
        part = self._each()[index]
        ratio = part.config.image_size / self.config.image_size
        mean, std = (images.new_tensor(values).view(1, 3, 1, 1) for values in (part.mean, part.std))
        if extents is not None and isinstance(part, Fusion):
            part._extents = [(round(width * ratio), round(height * ratio)) for width, height in extents]
        elif extents is not None and part.pads_normalised:
            images = fill_padding(images.clone(), extents, mean[0])  # 0 once it is normalised
        if index and ratio != 1:
            size = [round(side * ratio / part.stride) * part.stride for side in images.shape[-2:]]
            images = nn.functional.interpolate(
                images, size, mode="bilinear", align_corners=False, antialias=True
            )
        return (images - mean) / std


_Shape = tuple[torch.Size, int, int]


def _options_of(part: Any) -> Part:
    return {"name": part} if isinstance(part, str) else part


def _completed(given: Any, index: int, resize: str) -> Part:
    """A part with every option written out."""
    part = _options_of(given)
    where = f"backbone.parts[{index}]"
    if not isinstance(part, dict) or not isinstance(part.get("name"), str):
        raise PeftCorrError(f"{where} must be a name, or a mapping with a name: got {shown(given)}.")
    for key in _SHARED:
        if key in part:
            raise PeftCorrError(f"{where}.{key}: write it for the whole backbone, as backbone.{key}.")
    weight, weights = part.get("weight", 1.0), part.get("weights")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
        raise PeftCorrError(f"{where}.weight is {shown(weight)}: it must be a number above 0.")
    if weights is not None and not isinstance(weights, str):
        raise PeftCorrError(f"{where}.weights is {shown(weights)}: it must be the path of a folder.")
    options = _backbone_of(part, index, resize)[1].model_dump(mode="json", exclude=set(_SHARED))
    return {"name": part["name"], "weight": float(weight), "weights": weights, **options}


def _backbone_of(part: Part, index: int, resize: str) -> tuple[type[Backbone], Backbone.Config]:
    """The class of a part and its validated options."""
    from peftcorr.config import explain

    where = f"backbone.parts[{index}]"
    try:
        cls = BACKBONES.get(part["name"])
    except PeftCorrError as error:
        raise PeftCorrError(f"{where}: {error}") from error
    options = {key: value for key, value in part.items() if key not in _OWN}
    try:
        return cls, cls.Config.model_validate({**options, "resize": resize})
    except ValidationError as error:
        raise PeftCorrError(f"{where} {shown(part['name'])}: {explain(error, cls.Config)}") from error


def _below(prefix: str, site: BlockSites) -> BlockSites:
    """Sites of a part, named from the whole backbone down."""

    def named(name: str | None) -> str | None:
        return None if name is None else prefix + name

    return replace(
        site,
        block=prefix + site.block,
        linears={role: tuple(prefix + name for name in names) for role, names in site.linears.items()},
        norm2=named(site.norm2),
        attention_output=named(site.attention_output),
        mlp_output=named(site.mlp_output),
    )

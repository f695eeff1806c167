"""What the models of transformers have in common: shapes written out, weights loaded whole or refused, export."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from peftcorr.backbones.base import Backbone, BlockRow, check_size, sites_of
from peftcorr.backbones.identity import Weights, file_weights, is_file
from peftcorr.backbones.loading import load_transformers, place_of
from peftcorr.backbones.release import Names, load_release
from peftcorr.backbones.saving import save_image_processor, save_transformers


class HuggingFace(BlockRow):
    """A model of transformers.

    Attributes:
        variant: the shape of one published model.
        plain_config: the configuration that it was loaded with.
    """

    variant: ClassVar[Any]

    def __init__(self, config: Backbone.Config, model: Any):
        super().__init__(config)
        self.plain_config = model.config

    @classmethod
    @abstractmethod
    def settings(cls) -> tuple[type[Any], dict[str, Any]]:
        """The transformers class, and the entries of its configuration that weights must agree with.

        They are written out, so that no hub has to be asked. Those that no tensor's shape would give away (activation,
        epsilon, rotary base) would change the features in silence.
        """

    @classmethod
    def release(cls) -> Names | None:
        """How its makers name its tensors in the file that they publish; None if such files are not read."""
        return None

    @classmethod
    @abstractmethod
    def stride_of(cls, config: Backbone.Config) -> int:
        """The stride of a backbone with these options, which divides its image size."""

    @classmethod
    def architecture(cls) -> tuple[type[Any], Any]:
        """The transformers class and its configuration."""
        model_class, settings = cls.settings()
        return model_class, model_class.config_class(**settings)

    @classmethod
    def build(cls, config: Backbone.Config, weights: Weights | None) -> Self:
        """See `Backbone.build`."""
        check_size(config.image_size, cls.stride_of(config))
        if weights is not None:
            return cls(config, cls._load(place_of(weights), config.dtype == "bf16"))
        model_class, expected = cls.architecture()
        with torch.device("meta"):
            return cls(config, model_class(expected))

    @classmethod
    def find_weights(cls, config: Backbone.Config, given: Path | None) -> Weights:
        """See `Backbone.find_weights`: `given` is a folder, or the file that the model's makers publish.

        Raises:
            PeftCorrError: if it is neither.
        """
        if given is not None and is_file(given) and cls.release() is not None:
            return file_weights(given)
        return super().find_weights(config, given)

    @classmethod
    def _load(cls, place: Path, thin: bool) -> nn.Module:
        names = cls.release()
        if names is not None and place.is_file():
            return load_release(place, *cls.architecture(), names, thin)
        return load_transformers(*cls.settings(), place, thin)

    def save_pretrained(self, folder: Path) -> None:
        """See `Backbone.save_pretrained`: what the plain class of transformers loads, and its image processor."""
        tensors, changed = self._plain()
        save_transformers(self.plain_config, tensors, folder, **changed)
        save_image_processor(self.config.image_size, self.config.resize, self.mean, self.std, folder)

    @abstractmethod
    def _plain(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by the plain class's names, and the entries of its configuration that are others now."""


class HuggingFaceViT(HuggingFace):
    """A vision transformer of transformers: blocks of one width in a row.

    Attributes:
        layers: name of the list of blocks, from the model down.
        places: places of `BlockSites`, named from the block down.
    """

    layers: ClassVar[str]
    places: ClassVar[dict[str, str]]
    model: Any

    def __init__(self, config: Backbone.Config, model: Any):
        super().__init__(config, model)
        model.requires_grad_(False)
        _draw_nothing(model)
        self.model = model
        self.stride, self.channels = self.variant.patch, self.variant.width
        model.set_submodule(self.layers, model.get_submodule(self.layers)[: self.tapped(self.variant.depth)])
        self._sites = [
            sites_of(self, f"model.{self.layers}.{index}", self.variant.width, self._linears(), **self.places)
            for index in range(len(self.blocks()))
        ]

    @classmethod
    def stride_of(cls, config: Backbone.Config) -> int:
        """See `HuggingFace.stride_of`: the side of a patch."""
        patch: int = cls.variant.patch
        return patch

    @abstractmethod
    def _linears(self) -> dict[str, tuple[str, ...]]:
        """Linear layers of a block by role, named from the block down."""

    def blocks(self) -> Sequence[nn.Module]:
        """The encoder's layers."""
        return list(self.model.get_submodule(self.layers))

    def _plain(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return self.model.state_dict(), {"num_hidden_layers": len(self.blocks())}


B = TypeVar("B", bound=HuggingFace)


def published(family: type[B], name: str, title: str, hub_id: str, variant: Any) -> type[B]:
    """The class of one published model.

    Args:
        family: what it is a model of.
        name: of the class, which its module has under that name.
        title: first line of its documentation.
        hub_id: repository of its weights.
        variant: its shape.
    """
    body = {"__doc__": title, "__module__": family.__module__, "hub_id": hub_id, "variant": variant}
    return type(name, (family,), body)


def _draw_nothing(model: nn.Module) -> None:
    """Switch off what a configuration drops at random in training mode: frozen blocks must give one thing alone."""
    for module in model.modules():
        for name in (
            ("p",) if isinstance(module, nn.Dropout) else ("dropout", "attention_dropout", "drop_prob")
        ):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)

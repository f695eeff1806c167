"""Any timm model with a feature map: ``timm`` with the option ``model``, or ``timm/NAME`` as a name of its own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import timm
import torch
from pydantic import Field, create_model, field_validator, model_validator
from torch import nn
from typing_extensions import Self

from peftcorr.backbones.base import Backbone
from peftcorr.backbones.identity import Weights
from peftcorr.backbones.saving import save_timm
from peftcorr.backbones.timm import weights as timm_weights
from peftcorr.backbones.timm.layers import plain_state
from peftcorr.backbones.timm.names import published
from peftcorr.errors import PeftCorrError


class Timm(Backbone):
    """Any timm model with a feature map (option model, or timm/NAME as the backbone).

    Wightman, "PyTorch Image Models", github.com/huggingface/pytorch-image-models, 2019.
    """

    class Config(Backbone.Config):
        """Options of ``timm``; without `image_size` it is the one that the model was pretrained with."""

        model: str = Field(
            default="vit_small_patch14_dinov2.lvd142m",
            description="timm's name, with or without the tag of its weights",
        )

        @model_validator(mode="before")
        @classmethod
        def _pretrained_size(cls, options: Any) -> Any:
            if isinstance(options, dict) and "image_size" not in options:
                model = options.get("model", cls.model_fields["model"].default)
                if isinstance(model, str):
                    return {**options, "image_size": published(model).image_size}
            return options

        @field_validator("model")
        @classmethod
        def _known(cls, model: str) -> str:
            published(model)
            return model

    name: ClassVar[str | None] = None
    model: Any

    def __init__(self, config: Backbone.Config, model: Any):
        super().__init__(config)
        model.requires_grad_(False)
        self.model = model
        self.mean = _three(model.pretrained_cfg.get("mean", self.mean))
        self.std = _three(model.pretrained_cfg.get("std", self.std))
        self._pretrained: list[nn.Module] = []

    def save_pretrained(self, folder: Path) -> None:
        """See `Backbone.save_pretrained`: what ``timm.create_model(..., num_classes=0, checkpoint_path=...)`` loads.

        A model that pools by attention is made with ``global_pool=""`` besides, since its pooling is not written.

        Raises:
            PeftCorrError: if the features are of an earlier block or stage, or parts of timm's model were left out.
        """
        name = str(self.model.pretrained_cfg["architecture"])
        with torch.device("meta"):
            plain = _create(name, self.config.image_size).state_dict()
        state = plain_state(self.model, plain)
        heads = {"head", "head_dist", "fc_norm", "attn_pool"}
        wanted = {key: value.shape for key, value in plain.items() if key.partition(".")[0] not in heads}
        if {key: value.shape for key, value in state.items()} != wanted:
            raise PeftCorrError(
                f"timm's {name} cannot be exported as it is used here: timm has no such model without the parts that "
                "were left out (backbone.layer, pooling, or what follows the last stage)."
            )
        save_timm(name, state, folder)

    def _settle(self) -> None:
        """Call last in a constructor: what is there by then came pretrained; what comes later is a strategy's."""
        self._pretrained = list(self.model.modules())
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of what strategies added; the pretrained modules always evaluate.

        Batch normalisation so keeps the statistics it was pretrained with (batches here are a few images of one
        category), whether its block is trained or not, and no dropout, drop path or random augmentation of positions
        acts on the features.
        """
        super().train(mode)
        for module in self._pretrained:
            module.training = False
        return self

    @classmethod
    def timm_name(cls, config: Backbone.Config) -> str:
        """timm's name of the model that a configuration is of."""
        if cls.name is not None:
            return cls.name
        assert isinstance(config, Timm.Config)
        return config.model

    @classmethod
    def find_weights(cls, config: Backbone.Config, given: Path | None) -> Weights:
        """See `Backbone.find_weights`.

        Raises:
            PeftCorrError: also if none are given and timm publishes none.
        """
        name = cls.timm_name(config)
        if given is not None:
            return timm_weights.find_weights(given, name)
        hub_id = published(name).hub_id
        if hub_id is None:
            raise PeftCorrError(
                f"timm publishes no weights of {name} on the Hugging Face hub: give a folder that holds them with "
                "--weights."
            )
        return Weights(hub_id, None, None, official=True)

    @classmethod
    def build(cls, config: Backbone.Config, weights: Weights | None) -> Timm:
        """See `Backbone.build`.

        Raises:
            PeftCorrError: also if the model has no feature map, or does not run stage by stage.
        """
        from peftcorr.backbones.timm import stages as timm_stages  # they derive from this class
        from peftcorr.backbones.timm import vit as timm_vit

        name, size = cls.timm_name(config), config.image_size
        options: dict[str, Any] = {}

        def made(unused: Sequence[str] = ()) -> Any:
            if weights is None:
                return _create(name, size, meta=True, **options)
            model = _create(name, size, **options)
            timm_weights.load(model, name, weights, unused)
            return model

        skeleton = _create(name, size, meta=True)
        plain = timm_vit.class_of(skeleton)
        if plain is not None:
            options["dynamic_img_size"] = True
            return plain(config, made())
        if skeleton.pretrained_cfg.get("fixed_input_size"):
            options["img_size"] = size
            skeleton = _create(name, size, meta=True, **options)
        row, unused = timm_stages.plan(config, name, skeleton)
        return timm_stages.TimmStages(config, made(unused), row, unused)


@cache
def named(name: str) -> type[Timm]:
    """The class of ``timm/NAME``, with NAME as timm has it, with or without the tag of its pretrained weights.

    Raises:
        PeftCorrError: if timm has no such model or no such tag.
    """
    model = name.removeprefix("timm/")
    facts = published(model)
    config = create_model(
        "Config",
        __base__=Backbone.Config,
        __module__=__name__,
        image_size=(
            int,
            Field(default=facts.image_size, gt=0, description="side of the square input, in pixels"),
        ),
    )
    body = {
        "__doc__": f"timm's {model}.",
        "__module__": __name__,
        "name": model,
        "hub_id": facts.hub_id,
        "licence": facts.licence,
        "Config": config,
    }
    return type(model, (Timm,), body)


def _create(name: str, image_size: int, meta: bool = False, **options: Any) -> Any:
    """The model as timm creates it, random or without values, and without classifier."""
    try:
        with torch.device("meta" if meta else "cpu"):
            return timm.create_model(name, num_classes=0, **options).eval()
    except Exception as error:  # each family has its own conditions on sizes, and its own kinds of error
        text = " ".join(str(error).split())
        raise PeftCorrError(
            f"timm cannot build {name} for --image-size {image_size} ({text[:200]}): choose another image size or "
            "model."
        ) from error


def _three(values: tuple[float, ...]) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)

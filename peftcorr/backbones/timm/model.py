"""Any timm model with a feature map: ``timm`` with the option ``model``, or ``timm/NAME`` as a name of its own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, create_model, model_validator

from peftcorr.backbones.base import Backbone
from peftcorr.backbones.bfloat16 import thinned, without_values
from peftcorr.backbones.identity import Weights
from peftcorr.backbones.timm import weights as timm_weights
from peftcorr.backbones.timm.base import TimmModel, create
from peftcorr.backbones.timm.names import pretrained_size, published
from peftcorr.backbones.timm.stages import TimmStages, plan
from peftcorr.backbones.timm.vit import class_of
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
            model = isinstance(options, dict) and options.get("model", cls.model_fields["model"].default)
            return {"image_size": pretrained_size(model), **options} if isinstance(model, str) else options

    name: ClassVar[str | None] = None

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
        hub_id = published(name).hf_hub_id
        if not hub_id:
            raise PeftCorrError(
                f"timm publishes no weights of {name} on the Hugging Face hub: give a folder that holds them with "
                "--weights."
            )
        return Weights(hub_id, None, None, official=True)

    @classmethod
    def build(cls, config: Backbone.Config, weights: Weights | None) -> TimmModel:
        """See `Backbone.build`.

        Raises:
            PeftCorrError: also if the model has no feature map, or does not run stage by stage.
        """
        name, size = cls.timm_name(config), config.image_size
        options: dict[str, Any] = {}
        half = config.dtype == "bf16"

        def made(unused: Sequence[str] = ()) -> Any:
            if weights is None:
                return create(name, size, meta=True, **options)
            model = thinned(_spared(name, size, options)) if half else create(name, size, **options)
            timm_weights.load(model, name, weights, unused)
            return model

        skeleton = create(name, size, meta=True)
        plain = class_of(skeleton)
        if plain is not None:
            options["dynamic_img_size"] = True
            return plain(config, made())
        if skeleton.pretrained_cfg.get("fixed_input_size"):
            options["img_size"] = size
            skeleton = create(name, size, meta=True, **options)
        row, unused = plan(config, name, skeleton)
        return TimmStages(config, made(unused), row, unused)


def _spared(name: str, size: int, options: dict[str, Any]) -> Any:
    """A model that is to be loaded into, made without values where its constructor does not compute with them."""
    try:
        with without_values():
            return create(name, size, **options)
    except PeftCorrError:
        return create(name, size, **options)


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
            Field(default=pretrained_size(model), gt=0, description="side of the square input, in pixels"),
        ),
    )
    body = {
        "__doc__": f"timm's {model}.",
        "__module__": __name__,
        "name": model,
        "hub_id": facts.hf_hub_id or None,
        "licence": facts.license or "",
        "Config": config,
    }
    return type(model, (Timm,), body)

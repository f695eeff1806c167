"""What every timm model is as a backbone: loaded as timm creates it, always evaluating, saved as timm has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn
from typing_extensions import Self

from peftcorr.backbones.base import Backbone, BlockRow
from peftcorr.backbones.identity import Weights
from peftcorr.backbones.saving import save_timm
from peftcorr.backbones.timm.layers import plain_state
from peftcorr.errors import PeftCorrError, reason

HEADS = frozenset({"head", "head_dist", "fc_norm", "attn_pool"})
"""Children of timm's plain vision transformers that lie behind the features."""


class TimmModel(BlockRow):
    """A model of timm, wrapped."""

    model: Any

    def __init__(self, config: Backbone.Config, model: Any):
        super().__init__(config)
        model.requires_grad_(False)
        self.model = model
        self.mean = _three(model.pretrained_cfg.get("mean", self.mean))
        self.std = _three(model.pretrained_cfg.get("std", self.std))
        self.model_name = str(model.pretrained_cfg.get("architecture", ""))
        self._pretrained: list[nn.Module] = []

    @classmethod
    def build(cls, config: Backbone.Config, weights: Weights | None) -> TimmModel:
        """Not of a class that fits some models only: see `peftcorr.backbones.timm.model.Timm.build`, which chooses."""
        raise NotImplementedError

    def save_pretrained(self, folder: Path) -> None:
        """See `Backbone.save_pretrained`: what ``timm.create_model("local-dir:FOLDER", pretrained=True)`` loads.

        With timm's transform for it images become what `preprocess` gives of stretched ones. A model that pools by
        attention is made without its pooling, which is not written.

        Raises:
            PeftCorrError: if the features are of an earlier block or stage, or parts of timm's model were left out.
        """
        published = self.model.pretrained_cfg
        name = str(published["architecture"])
        plain = create(name, self.config.image_size, meta=True).state_dict()
        state = plain_state(self.model, plain)
        wanted = {key: value.shape for key, value in plain.items() if key.partition(".")[0] not in HEADS}
        if {key: value.shape for key, value in state.items()} != wanted:
            raise PeftCorrError(
                f"timm's {name} cannot be exported as it is used here: timm has no such model without the parts that "
                "were left out (backbone.layer, pooling, or what follows the last stage)."
            )
        size, fixed = self.config.image_size, bool(published.get("fixed_input_size"))
        options: dict[str, Any] = {"img_size": size} if fixed else {}
        behind = {key: tensor for key, tensor in plain.items() if key not in wanted}
        if any(key.startswith("attn_pool.") for key in behind):
            options["global_pool"] = ""
        else:  # norms before a classifier, which timm's loader asks for: as they start
            state |= {key: torch.full(t.shape, float(key.endswith("weight"))) for key, t in behind.items()}
        settings = {
            "architecture": name,
            "num_classes": 0,
            "model_args": options,
            "pretrained_cfg": {
                "input_size": (3, size, size),
                "fixed_input_size": fixed,
                "interpolation": "bicubic",
                "crop_pct": 1.0,
                "crop_mode": "squash",
                "mean": self.mean,
                "std": self.std,
                "num_classes": 0,
            },
        }
        save_timm(settings, state, folder)

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


def create(name: str, image_size: int, meta: bool = False, **options: Any) -> Any:
    """The model as timm creates it, random or without values, and without classifier."""
    try:
        with torch.device("meta" if meta else "cpu"):
            return timm.create_model(name, num_classes=0, **options).eval()
    except Exception as error:  # each family has its own conditions on sizes, and its own kinds of error
        raise PeftCorrError(
            f"timm cannot build {name} for --image-size {image_size} ({reason(error)}): choose another image size or "
            "model."
        ) from error


def _three(values: tuple[float, ...]) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)

"""What timm knows of its models by name, before any is built."""

from __future__ import annotations

import difflib

import timm
from timm.models import PretrainedCfg

from peftcorr.errors import PeftCorrError, shown


def published(name: str) -> PretrainedCfg:
    """What timm publishes of a model, looked up with or without the tag of its pretrained weights.

    Raises:
        PeftCorrError: if timm has no such model or no such tag, with near names.
    """
    architecture, dot, tag = name.partition(".")
    models = timm.list_models()
    if architecture not in models:
        raise PeftCorrError(f"Unknown timm model {shown(name)}.{_near(architecture, models)}")
    tags = timm.list_pretrained(f"{architecture}.*")
    if dot and name not in tags:
        raise PeftCorrError(
            f"timm's {architecture} has no pretrained weights {shown(tag)}.{_near(name, tags, cutoff=0.0)}"
        )
    return timm.get_pretrained_cfg(name) or PretrainedCfg()


def pretrained_size(name: str) -> int:
    """Pixels a side of the images that a model was pretrained on (the shorter side, images here being square)."""
    return int(min(published(name).input_size[-2:]))


def _near(name: str, known: list[str], cutoff: float = 0.5) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=cutoff)
    if not near:
        return " In Python, timm.list_models() lists what there is."
    return f" Did you mean {' or '.join(repr(other) for other in near)}?"

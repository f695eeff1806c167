"""What timm knows of its models by name, before any is built."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import timm

from peftcorr.errors import PeftCorrError


@dataclass(frozen=True)
class Published:
    """What timm publishes of a model.

    Attributes:
        image_size: pixels a side of the images it was pretrained on (the shorter side, images here being square).
        hub_id: repository of its pretrained weights; None where there are none on the hub.
        licence: of these weights, as timm names it; empty where it says none.
    """

    image_size: int = 224
    hub_id: str | None = None
    licence: str = ""


def published(name: str) -> Published:
    """Look up a timm model, with or without the tag of its pretrained weights.

    Raises:
        PeftCorrError: if timm has no such model or no such tag, with near names.
    """
    architecture, dot, tag = name.partition(".")
    models = timm.list_models()
    if architecture not in models:
        raise PeftCorrError(f"Unknown timm model {name!r}.{_near(architecture, models)}")
    tags = timm.list_pretrained(f"{architecture}.*")
    if dot and name not in tags:
        raise PeftCorrError(
            f"timm's {architecture} has no pretrained weights {tag!r}.{_near(name, tags, cutoff=0.0)}"
        )
    found = timm.get_pretrained_cfg(name)
    if found is None:
        return Published()
    return Published(min(found.input_size[-2:]), found.hf_hub_id or None, found.license or "")


def _near(name: str, known: list[str], cutoff: float = 0.5) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=cutoff)
    if not near:
        return " In Python, timm.list_models() lists what there is."
    return f" Did you mean {' or '.join(repr(other) for other in near)}?"

"""Weights of timm's models: folders in the layout of timm's repositories, loaded whole or refused."""

from __future__ import annotations

import importlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import timm
from safetensors.torch import load_file
from torch import Tensor, nn

from peftcorr.backbones.identity import Weights
from peftcorr.backbones.loading import check_tensor_names, place_of
from peftcorr.backbones.timm.base import HEADS
from peftcorr.errors import PeftCorrError, reason
from peftcorr.files import sha256
from peftcorr.files.reading import parse_json, read_bytes

# Pooling and classifiers, whatever model saved them: a file may hold them, and may lack them.
_HEADS = {*HEADS, "fc", "classifier", "last_linear", "pre_logits"}


def find_weights(folder: Path, name: str) -> Weights:
    """Identify the weights of the timm model `name` in a folder, which is named after them.

    Raises:
        PeftCorrError: if it holds no ``model.safetensors``, or a ``config.json`` of another model.
    """
    if not (folder / "model.safetensors").is_file():
        raise PeftCorrError(
            f"--weights {folder}: there is no model.safetensors in it; give a folder in the layout of timm's "
            "repositories (model.safetensors, and config.json if there is one)."
        )
    if (folder / "config.json").is_file():
        found = _architecture(folder)
        if found is not None and found != name.partition(".")[0]:
            raise PeftCorrError(
                f"--weights {folder}: config.json is of timm's {found}, but the backbone is {name}: choose the model "
                "that these weights were made for."
            )
    return Weights(folder.resolve().name, sha256(folder / "model.safetensors"), folder, official=False)


def _architecture(folder: Path) -> str | None:
    try:
        configuration = parse_json(read_bytes(folder / "config.json"))
        found = configuration.get("architecture")
    except (PeftCorrError, ValueError, AttributeError) as error:
        raise PeftCorrError(f"--weights {folder}: config.json cannot be read ({reason(error)}).") from error
    return found if isinstance(found, str) else None


def load(model: nn.Module, name: str, weights: Weights, removed: Collection[str] = ()) -> None:
    """Fill `model` with weights, fetched first if they are the official ones.

    Positions of another image size are resampled as timm does when it loads such a file.

    Args:
        model: as timm creates it, without classifier.
        name: timm's name of it.
        weights: what `find_weights` gave, or the official ones.
        removed: children of the model that the backbone removes: the file may lack them or hold others.

    Raises:
        PeftCorrError: if they cannot be fetched, cannot be read, or are of another architecture.
    """
    folder = place_of(weights)
    path = folder / "model.safetensors"
    if not path.is_file():
        raise PeftCorrError(
            f"The repository {weights.id} has no model.safetensors: convert the weights of {name}, and give the folder "
            "with --weights."
        )
    try:
        state = _resampled(load_file(path), model, name)
        left = model.load_state_dict(state, strict=False)
    except Exception as error:  # truncated files, shapes, and whatever timm's own conversion stumbles over
        raise PeftCorrError(
            f"--weights {folder}: model.safetensors does not fit timm's {name} ({reason(error)}): fetch the file "
            "again, or choose the model that it was made for."
        ) from error
    loose = {*_HEADS, *removed, *_classifiers(model)}
    missing, unexpected = (
        {key for key in keys if key.partition(".")[0] not in loose}
        for keys in (left.missing_keys, left.unexpected_keys)
    )
    check_tensor_names(f"--weights {folder}: model.safetensors", missing, unexpected)


def _resampled(state: dict[str, Tensor], model: nn.Module, name: str) -> dict[str, Tensor]:
    """The state after timm's own filter of that family (by its convention a function of the family's module)."""
    family = importlib.import_module(timm.models.model_entrypoint(name.partition(".")[0]).__module__)
    for module in (family, importlib.import_module(type(model).__module__)):
        if hasattr(module, "checkpoint_filter_fn"):
            filtered: dict[str, Tensor] = module.checkpoint_filter_fn(state, model)
            return filtered
    return state


def _classifiers(model: nn.Module) -> set[str]:
    published: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    named = published.get("classifier") or ()
    return {entry.partition(".")[0] for entry in ([named] if isinstance(named, str) else named)}

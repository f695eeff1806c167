"""Weights of timm's models: folders in the layout of its repositories, or one file, loaded whole or refused."""

from __future__ import annotations

import importlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from peftcorr.backbones.identity import Weights, file_weights, is_file, tensor_files
from peftcorr.backbones.loading import CLASSIFIERS, check_tensor_names, place_of
from peftcorr.backbones.tensors import read_tensors
from peftcorr.backbones.timm.base import HEADS
from peftcorr.errors import PeftCorrError, reason
from peftcorr.files import sha256
from peftcorr.files.reading import parse_json, read_bytes

# Pooling and classifiers, whatever model saved them: a file may hold them, and may lack them.
_HEADS = HEADS | CLASSIFIERS


def find_weights(given: Path, name: str) -> Weights:
    """Identify the weights of the timm model `name`, which are named after their folder or file.

    Args:
        given: folder in the layout of timm's repositories, or a single file that timm itself can convert, such as the
            one that the model's makers publish.
        name: timm's.

    Raises:
        PeftCorrError: if there is no such file, or the folder holds no tensors or a ``config.json`` of another model.
    """
    return file_weights(given) if is_file(given) else _in_folder(given, name)


def _in_folder(folder: Path, name: str) -> Weights:
    files = tensor_files(folder)
    for file in files:
        if not file.is_file():
            raise PeftCorrError(
                f"--weights {folder}: there is no {file.name} in it; give a folder in the layout of timm's "
                "repositories (model.safetensors or pytorch_model.bin, and config.json if there is one)."
            )
    if (folder / "config.json").is_file():
        found = _architecture(folder)
        if found is not None and found != name.partition(".")[0]:
            raise PeftCorrError(
                f"--weights {folder}: config.json is of timm's {found}, but the backbone is {name}: choose the model "
                "that these weights were made for."
            )
    return Weights(folder.resolve().name, sha256(*files), folder, official=False)


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
        model: as timm creates it, without classifier; its parameters may have no values yet.
        name: timm's name of it.
        weights: what `find_weights` gave, or the official ones.
        removed: children of the model that the backbone removes: the file may lack them or hold others.

    Raises:
        PeftCorrError: if they cannot be fetched, cannot be read, or are of another architecture.
    """
    place = place_of(weights)
    files = [place] if place.is_file() else tensor_files(place)
    if not files[0].is_file():
        raise PeftCorrError(
            f"The repository {weights.id} has no {files[0].name}: convert the weights of {name}, and give the folder "
            "with --weights."
        )
    where = f"--weights {place}" if place.is_file() else f"--weights {place}: {files[0].name}"
    empty = any(parameter.is_meta for parameter in model.parameters())
    tensors = {key: tensor for file in files for key, tensor in read_tensors(file, mapped=empty).items()}
    try:
        state = _resampled(tensors, model, name)
        left = _filled(model, state) if empty else model.load_state_dict(state, strict=False)
    except Exception as error:  # truncated files, shapes, and whatever timm's own conversion stumbles over
        raise PeftCorrError(
            f"{where} does not fit timm's {name} ({reason(error)}): fetch the file again, or choose the model that it "
            "was made for."
        ) from error
    loose = {*_HEADS, *removed, *_classifiers(model)}
    missing, unexpected = (
        {key for key in keys if key.partition(".")[0] not in loose}
        for keys in (left.missing_keys, left.unexpected_keys)
    )
    check_tensor_names(where, missing, unexpected)


def _filled(model: nn.Module, state: dict[str, Tensor]) -> Any:
    """Put a state into a model whose parameters have no values, each of the type that it has there."""
    there = model.state_dict()
    typed = {key: tensor.to(there[key].dtype) if key in there else tensor for key, tensor in state.items()}
    left = model.load_state_dict(typed, strict=False, assign=True)
    for name, parameter in list(model.named_parameters()):
        if parameter.is_meta:  # of a head, which the file may lack and which is taken off
            owner, _, last = name.rpartition(".")
            values = torch.zeros(parameter.shape, dtype=parameter.dtype)
            setattr(model.get_submodule(owner), last, nn.Parameter(values, parameter.requires_grad))
    return left


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

"""Pretrained pipelines in the layout of diffusers: one folder a model, each with its configuration and weights."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from peftcorr.backbones.identity import Weights
from peftcorr.backbones.loading import (
    check_settings,
    load_transformers,
    load_whole,
    read_configuration,
)
from peftcorr.errors import PeftCorrError, reason
from peftcorr.files import sha256

_HASHED = (
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
)
_NEEDED = ("unet/config.json", "vae/config.json", "text_encoder/config.json", *_HASHED)
PIPELINE = (*_NEEDED, "tokenizer/*.json")
"""The files of a pipeline that are read."""


def local_pipeline(folder: Path) -> Weights:
    """Identify the pipeline in `folder`, which is named after it; its hash is of the hashes of its files.

    Raises:
        PeftCorrError: if a file is missing.
    """
    for needed in _NEEDED:
        if not (folder / needed).is_file():
            raise PeftCorrError(
                f"--weights {folder}: there is no {needed} in it; give a folder in diffusers format (unet, vae, "
                "text_encoder and tokenizer, weights as safetensors in one file each)."
            )
    lines = "".join(f"{name} {sha256(folder / name)}\n" for name in _HASHED)
    return Weights(folder.resolve().name, hashlib.sha256(lines.encode()).hexdigest(), folder, official=False)


def load_diffusers(model_class: type[Any], settings: Mapping[str, Any], folder: Path) -> nn.Module:
    """Load float32 weights from `folder`, refusing what is not exactly the architecture asked for.

    Args:
        model_class: diffusers class.
        settings: entries of its configuration that the backbone's code prescribes.
        folder: folder with ``config.json`` and ``diffusion_pytorch_model.safetensors``.

    Raises:
        PeftCorrError: if an entry differs, a tensor is missing or of another shape, or a file cannot be read.
    """
    defaults = inspect.signature(model_class.__init__).parameters
    found = read_configuration(folder, model_class.load_config)
    entries = {key: found.get(key, defaults[key].default) for key in settings}
    check_settings(folder, entries, settings)
    load = partial(model_class.from_pretrained, folder, use_safetensors=True, local_files_only=True)
    return load_whole(
        f"--weights {folder}: diffusion_pytorch_model.safetensors", load, torch_dtype=torch.float32
    )


def load_text_encoder(settings: Mapping[str, Any], folder: Path) -> tuple[nn.Module, Any]:
    """CLIP's text encoder of a pipeline, and its tokenizer.

    Args:
        settings: entries of the encoder's configuration that the backbone's code prescribes.
        folder: the pipeline's.

    Raises:
        PeftCorrError: if a file cannot be read, or is of another architecture.
    """
    model = load_transformers(transformers.CLIPTextModel, settings, folder / "text_encoder")
    try:
        tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    except Exception as error:
        raise PeftCorrError(
            f"--weights {folder / 'tokenizer'}: the tokenizer cannot be read ({reason(error)})."
        ) from error
    return model, tokenizer

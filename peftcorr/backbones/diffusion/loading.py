"""Pretrained pipelines in the layout of diffusers: one folder a model, each with its configuration and weights."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from typing import Any

import torch
from torch import nn

from peftcorr.backbones.identity import Weights, sha256
from peftcorr.backbones.loading import fetch, load_transformers, one_line
from peftcorr.errors import PeftCorrError

_HASHED = (
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
)
_FILES = ("unet/config.json", "vae/config.json", "text_encoder/config.json", *_HASHED)


def local_pipeline(folder: Path) -> Weights:
    """Identify the pipeline in `folder`, which is named after it; its hash is of the hashes of its files.

    Raises:
        PeftCorrError: if a file is missing.
    """
    for needed in _FILES:
        if not (folder / needed).is_file():
            raise PeftCorrError(
                f"--weights {folder}: there is no {needed} in it; give a folder in diffusers format (unet, vae, "
                "text_encoder and tokenizer, weights as safetensors in one file each)."
            )
    lines = "".join(f"{name} {sha256(folder / name)}\n" for name in _HASHED)
    return Weights(folder.resolve().name, hashlib.sha256(lines.encode()).hexdigest(), folder, official=False)


def fetch_pipeline(hub_id: str) -> Path:
    """Folder of a pipeline's files in the local hub cache, downloaded if they are not there yet.

    Raises:
        PeftCorrError: if the hub cannot be reached or refuses.
    """
    return fetch(hub_id, [*_FILES, "tokenizer/*.json"])


def load_diffusers(model_class: type[Any], expected: dict[str, Any], folder: Path) -> nn.Module:
    """Load float32 weights from `folder`, refusing what is not exactly the architecture asked for.

    Args:
        model_class: diffusers class.
        expected: configuration that the backbone's code prescribes; what it does not name does not change the shape.
        folder: folder with ``config.json`` and ``diffusion_pytorch_model.safetensors``.

    Raises:
        PeftCorrError: if a configuration differs, a tensor is missing or of another shape, or a file cannot be read.
    """
    try:
        found = model_class.load_config(folder, local_files_only=True)
    except Exception as error:
        raise PeftCorrError(f"--weights {folder}: config.json cannot be read ({one_line(error)}).") from error
    defaults = inspect.signature(model_class.__init__).parameters
    for key, wanted in expected.items():
        there = found.get(key, defaults[key].default)
        if _plain(there) != _plain(wanted):
            raise PeftCorrError(
                f"--weights {folder}: config.json has {key} {there}, but this backbone has {wanted}: choose the "
                "--backbone that these weights were made for."
            )
    try:
        model, report = model_class.from_pretrained(
            folder,
            torch_dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:
        raise PeftCorrError(
            f"--weights {folder}: diffusion_pytorch_model.safetensors does not fit its config.json "
            f"({one_line(error)}): fetch the file again, or choose the --backbone that it was made for."
        ) from error
    for kind, what in (("missing_keys", "lacks"), ("unexpected_keys", "has beyond the model's")):
        if report[kind]:
            raise PeftCorrError(
                f"--weights {folder}: diffusion_pytorch_model.safetensors {what} {len(report[kind])} tensors, "
                f"{min(report[kind])} among them: fetch the file again, or choose the --backbone that it was made for."
            )
    loaded: nn.Module = model
    return loaded


def load_text_encoder(expected: Any, folder: Path) -> tuple[nn.Module, Any]:
    """CLIP's text encoder of a pipeline, and its tokenizer.

    Raises:
        PeftCorrError: if a file cannot be read, or is of another architecture than `expected`.
    """
    import transformers

    keys = (
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act",
        "max_position_embeddings", "attention_dropout",
    )  # fmt: skip
    model = load_transformers(transformers.CLIPTextModel, expected, folder / "text_encoder", keys)
    try:
        tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    except Exception as error:
        raise PeftCorrError(
            f"--weights {folder / 'tokenizer'}: the tokenizer cannot be read ({one_line(error)})."
        ) from error
    return model, tokenizer


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

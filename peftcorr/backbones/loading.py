"""Weights: what a folder must hold, the hash that names it in a record, and loading without surprises."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from peftcorr.backbones.base import Weights
from peftcorr.errors import PeftCorrError

EMBEDDED = Path(__file__).parent / "weights"


def local_weights(folder: Path, official: bool = False) -> Weights:
    """Identify the weights in `folder`, which is named after them.

    Raises:
        PeftCorrError: if the folder, its ``config.json`` or its ``model.safetensors`` is missing.
    """
    for needed in ("config.json", "model.safetensors"):
        if not (folder / needed).is_file():
            raise PeftCorrError(
                f"--weights {folder}: there is no {needed} in it; give a folder in Hugging Face format "
                "(config.json and model.safetensors)."
            )
    return Weights(folder.resolve().name, sha256(folder / "model.safetensors"), folder, official)


def sha256(path: Path) -> str:
    """Hash of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(hub_id: str, files: Sequence[str] = ("config.json", "model.safetensors")) -> Path:
    """Folder of a model's files in the local hub cache, downloaded if they are not there yet.

    Args:
        hub_id: repository.
        files: which of its files, as paths or patterns.

    Raises:
        PeftCorrError: if the hub cannot be reached or refuses.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(files)))
    except Exception as error:  # the hub client raises many kinds: offline, refused, not found, timed out
        raise PeftCorrError(
            f"The weights {hub_id} could not be fetched from the Hugging Face hub ({type(error).__name__}): check the "
            "network, or give a folder that holds them with --weights."
        ) from error


def load_transformers(
    model_class: type[Any], expected: Any, folder: Path, shape_keys: tuple[str, ...]
) -> nn.Module:
    """Load float32 weights from `folder`, refusing what is not exactly the architecture asked for.

    Args:
        model_class: transformers class.
        expected: configuration that the backbone's code prescribes.
        folder: folder with ``config.json`` and ``model.safetensors``.
        shape_keys: entries of the configuration that must agree.

    Raises:
        PeftCorrError: if a shape differs, a tensor is missing, or a file cannot be read.
    """
    try:
        found = type(expected).from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise PeftCorrError(f"--weights {folder}: config.json cannot be read ({one_line(error)}).") from error
    for key in (key for key in shape_keys if hasattr(expected, key)):
        if getattr(found, key) != getattr(expected, key):
            raise PeftCorrError(
                f"--weights {folder}: config.json has {key} {getattr(found, key)}, but this backbone has "
                f"{getattr(expected, key)}: choose the --backbone that these weights were made for."
            )
    try:
        model, report = model_class.from_pretrained(
            folder,
            config=found,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            attn_implementation="sdpa",
        )
    except Exception as error:
        raise PeftCorrError(
            f"--weights {folder}: model.safetensors does not fit its config.json ({one_line(error)}): fetch the file "
            "again, or choose the --backbone that it was made for."
        ) from error
    lost = sorted(set(report["missing_keys"]) - {"embeddings.mask_token"})
    if lost:
        raise PeftCorrError(
            f"--weights {folder}: model.safetensors lacks {len(lost)} tensors of the model, {lost[0]} among them: "
            "fetch the file again."
        )
    if report["unexpected_keys"]:
        odd = sorted(report["unexpected_keys"])
        raise PeftCorrError(
            f"--weights {folder}: model.safetensors has {len(odd)} tensors that the model has no place for, "
            f"{odd[0]} among them: choose the --backbone that it was made for."
        )
    loaded: nn.Module = model
    return loaded


def one_line(error: Exception) -> str:
    """What a library's error says, on one line and no longer than 200 characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."

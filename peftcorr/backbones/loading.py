"""Weights fetched from the hub and loaded without surprises."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from peftcorr.errors import PeftCorrError

# Models of many gigabytes are published in several files, with an index of them.
_PUBLISHED = ("config.json", "model.safetensors", "model.safetensors.index.json", "model-*.safetensors")


def fetch(hub_id: str, files: Sequence[str] = _PUBLISHED) -> Path:
    """Folder of a model's files in the local hub cache, downloaded if they are not there yet.

    Args:
        hub_id: repository.
        files: which of its files, as paths or patterns.

    Raises:
        PeftCorrError: if the hub cannot be reached or refuses.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(files)))
    except GatedRepoError as error:
        raise PeftCorrError(
            f"The weights {hub_id} are only given to those who accepted their licence: accept it at "
            f"https://huggingface.co/{hub_id}, then run `hf auth login` or set HF_TOKEN, or give a folder that holds "
            "them with --weights."
        ) from error
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
            attn_implementation="sdpa"
            if model_class._supports_sdpa
            else None,  # of convolutions there is none
        )
    except Exception as error:
        raise PeftCorrError(
            f"--weights {folder}: model.safetensors does not fit its config.json ({one_line(error)}): fetch the file "
            "again, or choose the --backbone that it was made for."
        ) from error
    check_tensor_names(
        f"--weights {folder}: model.safetensors",
        missing=sorted(set(report["missing_keys"]) - {"embeddings.mask_token"}),
        unexpected=sorted(report["unexpected_keys"]),
    )
    loaded: nn.Module = model
    return loaded


def check_tensor_names(file: str, missing: Sequence[str], unexpected: Sequence[str]) -> None:
    """Refuse a file that does not hold exactly the model's tensors.

    Raises:
        PeftCorrError: if one is missing, or is too many.
    """
    if missing:
        raise PeftCorrError(
            f"{file} lacks {len(missing)} tensors of the model, {missing[0]} among them: fetch the file again."
        )
    if unexpected:
        raise PeftCorrError(
            f"{file} has {len(unexpected)} tensors that the model has no place for, {unexpected[0]} among them: choose "
            "the --backbone that it was made for."
        )


def one_line(error: Exception) -> str:
    """An error's text as part of a sentence, at most 200 characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."

"""Writing a backbone in the format of the library that it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from peftcorr.errors import PeftCorrError


def save_transformers(model: Any, folder: Path, blocks: int, extra: dict[str, torch.Tensor]) -> None:
    """Write a transformers model as ``config.json`` and ``model.safetensors``.

    Args:
        model: as it is used here.
        folder: where.
        blocks: how many of them are left.
        extra: tensors that the plain class has besides.

    Raises:
        PeftCorrError: if the folder cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    settings = model.config.to_dict()
    for derived in ("stage_names", "out_features", "out_indices"):  # these would name blocks that are gone
        settings.pop(derived, None)
    try:
        type(model.config)(**{**settings, "num_hidden_layers": blocks}).save_pretrained(folder)
        save_file({**tensors, **extra}, folder / "model.safetensors", metadata={"format": "pt"})
    except (OSError, SafetensorError) as error:
        raise PeftCorrError(
            f"Cannot write {folder}: {error}. Free some space or choose another folder."
        ) from error

"""Writing a backbone in the format of the library that it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from peftcorr.errors import PeftCorrError


def save_transformers(config: Any, tensors: dict[str, Tensor], folder: Path, **changed: Any) -> None:
    """Write ``config.json`` and ``model.safetensors``, as a plain class of transformers reads them.

    Args:
        config: of the model as it was loaded.
        tensors: by the plain class's names.
        folder: where.
        changed: entries of the configuration that are others now, for example how many blocks are left.

    Raises:
        PeftCorrError: if the folder cannot be written.
    """
    settings = config.to_dict()
    for derived in ("stage_names", "out_features", "out_indices"):  # these would name blocks that are gone
        settings.pop(derived, None)
    try:
        type(config)(**{**settings, **changed}).save_pretrained(folder)
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            folder / "model.safetensors",
            metadata={"format": "pt"},
        )
    except (OSError, SafetensorError) as error:
        raise PeftCorrError(
            f"Cannot write {folder}: {error}. Free some space or choose another folder."
        ) from error

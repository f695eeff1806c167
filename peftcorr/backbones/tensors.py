"""Tensors by name out of one file, ``.safetensors`` or pickled by PyTorch; nothing pickled but tensors is read."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from peftcorr.errors import PeftCorrError, reason
from peftcorr.files.kinds import mistaken
from peftcorr.files.reading import opened

_AGAIN = "fetch the file again from where it is published"


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a file, on the CPU, of the types that they have there.

    Args:
        file: ``.safetensors``; any other name is read as what ``torch.save`` writes of a state dict.

    Raises:
        PeftCorrError: if the file cannot be read, is something else, or holds anything but tensors by name.
    """
    try:
        if kind := mistaken(file):
            raise PeftCorrError(f"--weights {file} is {kind}: {_AGAIN}.")
        if file.suffix == ".safetensors":
            tensors: dict[str, Tensor] = load_file(file)
            return tensors
        with opened(file) as stream:
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except PeftCorrError:
        raise
    except pickle.UnpicklingError as error:
        raise PeftCorrError(
            f"--weights {file} holds pickled objects other than tensors, or is damaged: only a state dict of tensors "
            f"is read; {_AGAIN}."
        ) from error
    except (
        Exception
    ) as error:  # both libraries raise many kinds: a truncated archive, an empty file, no permission
        raise PeftCorrError(
            f"--weights {file} cannot be read as weights ({reason(error)}): {_AGAIN}."
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise PeftCorrError(
            f"--weights {file} is no state dict (tensors by name): give the weights as they are published, not a whole "
            "training state."
        )
    return dict(content)

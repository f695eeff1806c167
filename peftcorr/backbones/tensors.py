"""Tensors by name out of one file, ``.safetensors`` or pickled by PyTorch; nothing pickled but tensors is read."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from peftcorr.errors import PeftCorrError, reason
from peftcorr.files.reading import opened
from peftcorr.files.signatures import HEAD, what_it_is

_AGAIN = "fetch the file again from where it is published"


def read_tensors(file: Path, mapped: bool = False) -> dict[str, Tensor]:
    """The tensors of a file, on the CPU, of the types that they have there.

    Args:
        file: ``.safetensors``; any other name is read as what ``torch.save`` writes of a state dict.
        mapped: leave the values in the file until they are used, as is always done with ``.safetensors``.

    Raises:
        PeftCorrError: if the file cannot be read, is something else, or holds anything but tensors by name.
    """
    try:
        with opened(file) as stream:
            head = stream.read(HEAD)
        # torch's own files are ZIP archives.
        if not head.startswith(b"PK") and (what := what_it_is(head)) is not None:
            raise PeftCorrError(f"--weights {file}: {what}.")
        if file.suffix == ".safetensors":
            tensors: dict[str, Tensor] = load_file(file)
            return tensors
        with opened(file) as stream:
            in_zip = mapped and head.startswith(
                b"PK"
            )  # what torch wrote before it had ZIP archives has no such form
            content = torch.load(
                file if in_zip else stream, map_location="cpu", weights_only=True, mmap=in_zip
            )
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

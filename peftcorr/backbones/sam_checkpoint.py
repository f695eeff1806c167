"""The image encoder out of a checkpoint of the segment-anything package: a ``.pth`` with its ``Sam``'s state dict."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from peftcorr.backbones.identity import Weights, sha256
from peftcorr.backbones.loading import check_tensor_names, one_line
from peftcorr.errors import PeftCorrError

_PART = "image_encoder."
_NAMES = (  # in transformers, in the package
    (r"^patch_embed\.projection\.", "patch_embed.proj."),
    (r"^layers\.(\d+)\.layer_norm([12])\.", r"blocks.\1.norm\2."),
    (r"^layers\.(\d+)\.", r"blocks.\1."),
    (r"^neck\.conv1\.", "neck.0."),
    (r"^neck\.layer_norm1\.", "neck.1."),
    (r"^neck\.conv2\.", "neck.2."),
    (r"^neck\.layer_norm2\.", "neck.3."),
)


def identify(file: Path) -> Weights:
    """Identify a checkpoint, which is named after its file.

    Raises:
        PeftCorrError: if there is no such file.
    """
    if not file.is_file():
        raise PeftCorrError(
            f"--weights {file}: there is no such file; give a checkpoint of the segment-anything package (.pth), or a "
            "folder in Hugging Face format (config.json and model.safetensors)."
        )
    return Weights(file.resolve().name, sha256(file), file, official=False)


def load_checkpoint(file: Path, expected: Any) -> nn.Module:
    """The vision model of transformers with a checkpoint's float32 weights; nothing pickled but tensors is read.

    Args:
        file: state dict of the package's ``Sam``; what is not under ``image_encoder.`` is left aside.
        expected: ``SamVisionConfig`` that the backbone's code prescribes.

    Raises:
        PeftCorrError: if the file cannot be read, is no state dict, or is not exactly of that architecture.
    """
    given = {key: value for key, value in _state_dict(file).items() if key.startswith(_PART)}
    if not given:
        raise PeftCorrError(
            f"--weights {file} has no tensor under {_PART}: give the checkpoint of a whole SAM, as the "
            "segment-anything package publishes it."
        )
    with torch.device("meta"):
        model = transformers.SamVisionModel(expected).eval()
    wanted = model.vision_encoder.state_dict()
    names = {name: _PART + _in_package(name) for name in wanted}
    for name, key in names.items():
        if key in given and given[key].shape != wanted[name].shape:
            raise PeftCorrError(
                f"--weights {file} has {key} of shape {tuple(given[key].shape)}, but this backbone has "
                f"{tuple(wanted[name].shape)}: choose the --backbone that these weights were made for."
            )
    check_tensor_names(
        f"--weights {file}",
        missing=sorted(set(names.values()) - given.keys()),
        unexpected=sorted(given.keys() - set(names.values())),
    )
    # Assigned, not copied: the model came without memory of its own.
    model.vision_encoder.load_state_dict(
        {name: given[key].to(torch.float32) for name, key in names.items()}, assign=True
    )
    loaded: nn.Module = model
    return loaded


def _in_package(name: str) -> str:
    for pattern, key in _NAMES:
        name = re.sub(pattern, key, name)
    return name


def _state_dict(file: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise PeftCorrError(
            f"--weights {file} holds pickled objects other than tensors, or is damaged: only a state dict of tensors "
            "is read; fetch the file again from where the segment-anything package publishes it."
        ) from error
    except Exception as error:  # torch raises many kinds: a truncated archive, an empty file, no permission
        raise PeftCorrError(
            f"--weights {file} cannot be read as a checkpoint ({one_line(error)}): fetch the file again."
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise PeftCorrError(
            f"--weights {file} is no state dict (tensors by name): give the checkpoint of a whole SAM, as the "
            "segment-anything package publishes it."
        )
    return content

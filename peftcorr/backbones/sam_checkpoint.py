"""The image encoder out of a checkpoint of the segment-anything package: a ``.pth`` with its ``Sam``'s state dict."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from peftcorr.backbones.identity import Weights
from peftcorr.backbones.loading import check_tensor_names
from peftcorr.errors import PeftCorrError, reason
from peftcorr.files import sha256

_PART = "image_encoder."
_NAMES = {  # in transformers: in the package
    "patch_embed.projection.": "patch_embed.proj.",
    "layers.": "blocks.",
    "neck.conv1.": "neck.0.",
    "neck.layer_norm1.": "neck.1.",
    "neck.conv2.": "neck.2.",
    "neck.layer_norm2.": "neck.3.",
    "layer_norm": "norm",
}


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


def load_checkpoint(file: Path, model_class: type[Any], expected: Any) -> nn.Module:
    """The vision model of transformers with a checkpoint's float32 weights; nothing pickled but tensors is read.

    Args:
        file: state dict of the package's ``Sam``; what is not under ``image_encoder.`` is left aside.
        model_class: ``SamVisionModel``.
        expected: its configuration that the backbone's code prescribes.

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
        wanted = {
            _PART + key: tensor.shape for key, tensor in _package_encoder(expected).state_dict().items()
        }
        model: nn.Module = model_class(expected).eval()
    for key, shape in wanted.items():
        if key in given and given[key].shape != shape:
            raise PeftCorrError(
                f"--weights {file} has {key} of shape {tuple(given[key].shape)}, but this backbone has "
                f"{tuple(shape)}: choose the --backbone that these weights were made for."
            )
    check_tensor_names(f"--weights {file}", wanted.keys() - given.keys(), given.keys() - wanted.keys())
    encoder = model.get_submodule("vision_encoder")
    state = {name: given[_PART + _in_package(name)].to(torch.float32) for name in encoder.state_dict()}
    encoder.load_state_dict(state, assign=True)  # not copied: the model came without memory of its own
    return model


def _package_encoder(config: Any) -> nn.Module:
    """The package's own encoder of that size."""
    from segment_anything.modeling import ImageEncoderViT  # nobody else waits for it

    encoder: nn.Module = ImageEncoderViT(
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.hidden_size,
        depth=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        out_chans=config.output_channels,
        use_rel_pos=True,
        window_size=config.window_size,
        global_attn_indexes=config.global_attn_indexes,
    )
    return encoder


def _in_package(name: str) -> str:
    for ours, theirs in _NAMES.items():
        name = name.replace(ours, theirs)
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
            f"--weights {file} cannot be read as a checkpoint ({reason(error)}): fetch the file again."
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise PeftCorrError(
            f"--weights {file} is no state dict (tensors by name): give the checkpoint of a whole SAM, as the "
            "segment-anything package publishes it."
        )
    return content

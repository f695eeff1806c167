"""Writing a backbone in the format of the library that it came from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from peftcorr.errors import PeftCorrError, reason


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
    with _writing(folder):
        type(config)(**{**settings, **changed}).save_pretrained(folder)
        _save(tensors, folder)


def save_image_processor(
    size: int, resize: str, mean: Sequence[float], std: Sequence[float], folder: Path
) -> None:
    """Write ``preprocessor_config.json``, which makes of images what `Backbone.preprocess` is given and gives.

    Args:
        size: pixels a side of the square that the backbone sees.
        resize: ``stretch``; with ``pad``, for which transformers has no processor, images must come as squares.
            A backbone with `pads_normalised` has its padding at 0 only after normalising.
        mean: per-channel statistics of images in [0, 1].
        std: likewise.
        folder: where.

    Raises:
        PeftCorrError: if the folder cannot be written.
    """
    from transformers import ViTImageProcessor

    processor = ViTImageProcessor(
        do_resize=resize == "stretch",
        size={"height": size, "width": size},
        resample=Image.Resampling.BICUBIC,
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=list(mean),
        image_std=list(std),
    )
    with _writing(folder):
        processor.save_pretrained(folder)


def save_timm(settings: dict[str, Any], tensors: dict[str, Tensor], folder: Path) -> None:
    """Write ``config.json`` and ``model.safetensors``, as timm's own repositories hold them.

    Args:
        settings: the former's content.
        tensors: by timm's names.
        folder: where.

    Raises:
        PeftCorrError: if the folder cannot be written.
    """
    with _writing(folder):
        (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        _save(tensors, folder)


def _save(tensors: dict[str, Tensor], folder: Path) -> None:
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise PeftCorrError(
            f"Cannot write {folder}: {reason(error)}. Free some space or choose another folder."
        ) from error

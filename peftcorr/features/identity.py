"""What decides a feature: of the encoder, and of the image. Equal identities mean equal features."""

from __future__ import annotations

import hashlib
import inspect
import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from peftcorr.backbones.base import Backbone
from peftcorr.data import exif, frame, images
from peftcorr.data.correspondences import Correspondences, Ints
from peftcorr.data.images import ImageStore
from peftcorr.errors import PeftCorrError
from peftcorr.features import encode
from peftcorr.features.encode import Encoder
from peftcorr.files import sha256
from peftcorr.matching import similarity

Stamp = tuple[int, int, int]

FORMAT = "1"  # raise it when what is cached changes meaning
_PACKAGES = ("torch", "transformers", "timm", "diffusers", "segment-anything", "peft", "pillow")
_LIBRARIES = (*(name.replace("-", "_") for name in _PACKAGES), "abc", "builtins", "typing")


def encoder_identity(encoder: Encoder, store: ImageStore, before: int | None = None) -> dict[str, str]:
    """Everything besides the image: tensors, options, code, preprocessing, precision and what it runs on.

    The tensors are hashed as they are in memory, adapters and all, so the identity does not depend on where weights
    came from or what they are called.

    Args:
        encoder: with its backbone.
        store: how images are brought to its size.
        before: only what comes before this block decides; None for the features themselves.
    """
    backbone = encoder.backbone
    device = encoder.device.type
    with encoder.autocast():
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else next(backbone.parameters()).dtype
        products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    return {
        "format": FORMAT,
        "class": f"{type(backbone).__module__}.{type(backbone).__qualname__}",
        "options": json.dumps(backbone.config.model_dump(mode="json"), sort_keys=True),
        "models": json.dumps([(m.model_name, m.mean, m.std) for m in _backbones(backbone)]),
        "tensors": tensors_sha256(backbone, before),
        "code": _code_sha256(backbone),
        "image_size": str(store.size),
        "resize": store.mode,
        "dtype": str(dtype),
        "device": device if device == "cpu" else f"{device} {torch.cuda.get_device_name()}",
        "matmul": products,
        "packages": " ".join(f"{name}={version}" for name in _PACKAGES if (version := _version(name))),
        **({} if device == "cpu" else {"convolution_tf32": str(convolutions)}),
        **({} if before is None else {"before": str(before)}),
    }


def _backbones(backbone: Backbone) -> list[Backbone]:
    """It, and those that it is made of."""
    return [module for module in backbone.modules() if isinstance(module, Backbone)]


def tensors_sha256(backbone: Backbone, before: int | None = None) -> str:
    """Hash of every parameter and buffer: name, type, shape and bytes.

    Args:
        backbone: has them.
        before: those that are trained, or lie in this block or behind it, are left out; None leaves none out.
    """
    later: set[nn.Module] = set() if before is None else set(backbone.blocks()[before:])
    inside = tuple(f"{name}." for name, module in backbone.named_modules() if module in later)
    trained = {name for name, one in backbone.named_parameters() if before is not None and one.requires_grad}
    digest = hashlib.sha256()
    for name, tensor in sorted(backbone.state_dict().items()):
        if name in trained or name.startswith(inside):
            continue
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _code_sha256(backbone: Backbone) -> str:
    """Hash of the source files that features come from: an edit must not leave old features valid.

    Libraries are left out, whose versions are part of the identity.
    """
    classes = {*type(backbone).__mro__, *(type(module) for module in backbone.modules())}
    modules = {module for cls in classes if (module := inspect.getmodule(cls)) is not None}
    own: set[ModuleType] = {module for module in modules if module.__name__.split(".")[0] not in _LIBRARIES}
    digest = hashlib.sha256()
    for module in sorted({images, exif, frame, encode, similarity} | own, key=lambda module: module.__name__):
        try:
            source = inspect.getsource(module)
        except (OSError, TypeError):  # no source files here: the package's version has to do
            source = _version("peftcorr") or ""
        digest.update(f"{module.__name__}\0{len(source)}\0{source}".encode())
    return digest.hexdigest()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True)
class ImageKey:
    """An image by its content.

    Attributes:
        key: hash of its bytes, category, path and annotated size (which decides how it is turned).
        path: the file.
        stamp: what tells whether the file was written to after it was hashed.
    """

    key: str
    path: Path
    stamp: Stamp

    def unchanged(self) -> bool:
        """Whether the file is still the one that was hashed."""
        try:
            return file_stamp(self.path) == self.stamp
        except OSError:
            return False


def image_keys(data: Correspondences, store: ImageStore, numbers: Ints) -> dict[int, ImageKey]:
    """Key of each image by number.

    Raises:
        PeftCorrError: if an image cannot be read.
    """
    keys = {}
    for number in numbers.tolist():
        path = store.image_root / data.images[number]
        try:
            stamp, content = file_stamp(path), sha256(path)
        except OSError as error:
            raise PeftCorrError(f"Cannot read the image {path}: {error.strerror or error}.") from error
        about = [data.categories[number], data.images[number], list(data.sizes[number]), content]
        keys[number] = ImageKey(hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32], path, stamp)
    return keys


def file_stamp(path: Path) -> Stamp:
    """What changes whenever a file is written to or replaced."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns

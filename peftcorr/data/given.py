"""Images that a caller gives: paths, PIL images or arrays, brought to a backbone's input as those of a dataset are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from peftcorr.data.decode import MAX_PIXELS, decode_shown, rgb
from peftcorr.data.exif import STORED, orientation, turned
from peftcorr.data.frame import ResizeMode
from peftcorr.data.images import ImageStore
from peftcorr.errors import PeftCorrError, reason, shown

Given = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]
"""A path, a PIL image, or an array (H, W, 3) or (H, W), uint8."""


@dataclass(frozen=True)
class Picture:
    """An image as it is shown.

    Attributes:
        pixels: (H, W, 3) uint8.
        key: digest of its size and pixels: pictures of the same content are one.
    """

    pixels: NDArray[np.uint8]
    key: str

    @property
    def size(self) -> tuple[int, int]:
        """(W, H)."""
        height, width = self.pixels.shape[:2]
        return width, height


def picture(given: Given, name: str = "image") -> Picture:
    """What was given as RGB pixels; files and PIL images turned as viewers show them.

    Args:
        given: path, PIL image or uint8 array; a grey image becomes RGB, transparency is laid on white.
        name: what messages call it.

    Raises:
        PeftCorrError: if it cannot be decoded, or is no image.
    """
    if isinstance(given, str | os.PathLike):
        pixels = decode_shown(Path(given))
    elif isinstance(given, Image.Image):
        pixels = _of_pil(given, name)
    elif isinstance(given, np.ndarray):
        pixels = _of_array(given, name)
    else:
        raise PeftCorrError(
            f"{name} is {shown(given)}: give a path, a PIL image, or an array (H, W, 3) or (H, W) of uint8."
        )
    pixels = np.ascontiguousarray(pixels)
    key = hashlib.sha256(repr(pixels.shape).encode())
    key.update(pixels.data)
    return Picture(pixels, key.hexdigest())


def pictures(given: Given | Sequence[Given], name: str) -> list[Picture]:
    """As `picture`, of one image or of each in a list.

    Raises:
        PeftCorrError: as `picture`, naming the place in the list.
    """
    if isinstance(given, list | tuple):
        return [picture(one, f"{name}[{place}]") for place, one in enumerate(given)]
    return [picture(cast(Given, given), name)]


def _of_pil(image: Image.Image, name: str) -> NDArray[np.uint8]:
    try:
        if 0 in image.size or image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels")
        wanted = orientation(image)
        image.load()
        if isinstance(image, TiffImageFile):  # PIL has turned it
            wanted = STORED
        return np.asarray(rgb(turned(image, wanted), f"given as {name}"))
    except PeftCorrError:
        raise
    except Exception as error:  # PIL reads late, and its decoders raise errors of many kinds
        raise PeftCorrError(f"The image given as {name} cannot be decoded ({reason(error)}).") from error


def _of_array(array: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    if array.dtype != np.uint8:
        raise PeftCorrError(
            f"{name} is an array of {array.dtype}: give uint8, 0 to 255 (of a share of 1, multiply by 255 and round)."
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    grey = array.ndim == 2
    if not (grey or (array.ndim == 3 and array.shape[2] == 3)) or 0 in array.shape:
        raise PeftCorrError(
            f"{name} is an array of shape {array.shape}: give (H, W, 3), channels last, or (H, W) for grey."
        )
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise PeftCorrError(
            f"{name} has {array.shape[1]} x {array.shape[0]} pixels: limit {MAX_PIXELS} pixels."
        )
    return np.repeat(array[..., None], 3, axis=2) if grey else array


class GivenImages(ImageStore):
    """An `ImageStore` of pictures, by their keys; nothing is read from a folder."""

    def __init__(self, pictures: Mapping[str, Picture], size: int, mode: ResizeMode):
        super().__init__(Path(), size, mode)
        self._pictures = pictures

    def _original(self, path: str, size: tuple[int, ...]) -> NDArray[np.uint8]:
        return self._pictures[path].pixels

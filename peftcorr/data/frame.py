"""The geometry of resizing: where a pixel of an original image lies in the square that a backbone sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

ResizeMode = Literal["stretch", "pad"]


@dataclass(frozen=True)
class Frame:
    """Maps pixel positions between an original image and the square input that was made of it.

    Attributes:
        width: W of the original, in pixels.
        height: H of the original.
        size: side of the square input.
        mode: how the original was resized.
    """

    width: int
    height: int
    size: int
    mode: ResizeMode = "stretch"

    @property
    def extent(self) -> tuple[int, int]:
        """(w, h) of the part of the input that the image covers, in pixels; whole numbers."""
        if self.mode == "stretch":
            return self.size, self.size
        longest = max(self.width, self.height)
        return (
            max(1, round(self.width * self.size / longest)),
            max(1, round(self.height * self.size / longest)),
        )

    @property
    def scale(self) -> NDArray[np.float64]:
        """(w/W, h/H): (2,)."""
        return np.array(self.extent, dtype=np.float64) / (self.width, self.height)

    def to_input(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map (..., 2) positions in the original to the input: x' = (x + 0.5) w/W - 0.5."""
        return (_points(points) + 0.5) * self.scale - 0.5

    def to_original(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map (..., 2) positions in the input to the original, the inverse of `to_input`.

        With ``pad`` a position in the padding is moved to the image's nearest edge (the outer edge of its
        border pixels, -0.5 and W - 0.5), so that what lies on the image maps as with ``stretch``.
        """
        original = (_points(points) + 0.5) / self.scale - 0.5
        if self.mode == "pad":
            original = np.clip(original, -0.5, np.array([self.width, self.height]) - 0.5)
        return original


def _points(points: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(points, dtype=np.float64)
    if array.shape[-1:] != (2,):
        raise ValueError(f"points must be (..., 2), not {array.shape}")
    return array


def resize(image: NDArray[np.uint8], size: int, mode: ResizeMode = "stretch") -> NDArray[np.uint8]:
    """Resize to a square with PIL's antialiased bicubic filter; `Frame` has the geometry.

    Args:
        image: (H, W, 3) uint8.
        size: side of the square.
        mode: ``stretch`` ignores the aspect ratio; ``pad`` keeps it and fills right and below with black.

    Returns:
        (size, size, 3) uint8.
    """
    height, width = image.shape[:2]
    extent = Frame(width, height, size, mode).extent
    small = np.asarray(Image.fromarray(image).resize(extent, Image.Resampling.BICUBIC))
    if extent == (size, size):
        return small
    padded = np.zeros((size, size, 3), dtype=np.uint8)
    padded[: extent[1], : extent[0]] = small
    return padded

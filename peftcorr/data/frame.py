"""The geometry of resizing: where a pixel of an original image lies in the square that a backbone sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image

Pixels = NDArray[np.uint8] | NDArray[np.float32]

ResizeMode = Literal[
    "stretch", "pad", "stretch_bilinear", "stretch_tensor", "pad_bilinear", "centre_lanczos"
]  # keys of `RESIZINGS`; a recipe's backbone chooses among the first two, a convention among all


@dataclass(frozen=True)
class Resizing:
    """One way to make an image square.

    Attributes:
        filter: PIL's, antialiased, on 8 bits; None interpolates the pixels as floats, bilinearly and without
            antialiasing.
        padding: what fills the square where the aspect ratio is kept: ``black`` before normalising, ``zero`` after it,
            or what the backbone was made for; ``none`` stretches.
        centred: whether the padding is shared out among both sides, and not all below or on the right.
    """

    filter: Image.Resampling | None
    padding: Literal["none", "backbone", "black", "zero"] = "none"
    centred: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """Of the pixels of the square, 0 to 255."""
        return torch.float32 if self.filter is None else torch.uint8


RESIZINGS: dict[ResizeMode, Resizing] = {
    "stretch": Resizing(Image.Resampling.BICUBIC),
    "pad": Resizing(Image.Resampling.BICUBIC, "backbone"),
    "stretch_bilinear": Resizing(Image.Resampling.BILINEAR),
    "stretch_tensor": Resizing(None),
    "pad_bilinear": Resizing(Image.Resampling.BILINEAR, "zero"),
    "centre_lanczos": Resizing(Image.Resampling.LANCZOS, "black", centred=True),
}


@dataclass(frozen=True)
class Placing:
    """How keypoints are moved from the original into the square: X = (x + centre) scale - centre + offset.

    The default is what resizing does to pixels. Published systems leave half a pixel out, or fit the centres of the
    corner pixels onto one another.

    Attributes:
        scale: ``extent``: w / W of the resized image; ``longest``: the square's side / max(W, H) for both axes;
            ``corners``: (w - 1) / (W - 1).
        centre: 0.5, or 0 where coordinates are multiplied as they are.
        edge: keypoints are moved this far inside of the centres of the outermost pixels; None leaves them.
    """

    scale: Literal["extent", "longest", "corners"] = "extent"
    centre: float = 0.5
    edge: float | None = None


HALF_PIXEL = Placing()


@dataclass(frozen=True)
class Framing:
    """What a convention does with images and keypoints before there are features.

    Attributes:
        resize: how images become square; None leaves it to the backbone's option.
        resize_on: datasets, by the beginning of their names, whose images become square in another way.
        placing: how keypoints come into the square.
        whole: datasets, likewise, whose keypoints are rounded down to whole pixels before that.
        mirror: where keypoints of a mirrored image lie (`peftcorr.engine.flip`): at W - 1 - x of the ``original``, or
            at S - X of the ``square`` of side S. None: the system has no flip.
    """

    resize: ResizeMode | None = None
    resize_on: Mapping[str, ResizeMode] = field(default_factory=dict)
    placing: Placing = HALF_PIXEL
    whole: tuple[str, ...] = ()
    mirror: Literal["original", "square"] | None = None

    def resized(self, dataset: str, own: ResizeMode) -> ResizeMode:
        """How the images of a dataset become square; `own` is the backbone's option."""
        return next((m for name, m in self.resize_on.items() if dataset.startswith(name)), self.resize or own)

    def rounded(self, points: NDArray[np.float64], dataset: str) -> NDArray[np.float64]:
        """Keypoints (..., 2) of the originals, whole where this dataset's are rounded down."""
        return np.floor(points) if dataset.startswith(self.whole) else points


_EVERY = ("",)  # the beginning of every dataset's name
_EDGE = 1e-4
_PADDED = Framing("centre_lanczos", placing=Placing("longest", centre=0.0))

# By the names of `peftcorr.matching.conventions.CONVENTIONS`, which says whose they are.
FRAMINGS: dict[str, Framing] = {
    "peftcorr": Framing(mirror="original"),
    # It takes whole pixels. SPair-71k's keypoints are such; others are rounded down.
    "dift": Framing("stretch", whole=_EVERY),
    "geoaware": replace(_PADDED, mirror="square"),
    "sd_dino": _PADDED,
    "sd4match": Framing("stretch_tensor", placing=Placing("extent", centre=0.0, edge=_EDGE)),
    "visual_ai": Framing(
        "stretch_tensor",
        placing=Placing("corners", centre=0.0, edge=_EDGE),
        whole=("pf_willow", "pf_pascal"),
    ),
    "marco": Framing(
        "stretch_bilinear",
        resize_on={"ap10k": "pad_bilinear", "pf_pascal": "pad_bilinear"},
        placing=Placing("extent", centre=0.0, edge=_EDGE),
    ),
}


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
        """(w, h) of the part of the input that the image covers, in pixels; whole numbers, halves to the even."""
        if RESIZINGS[self.mode].padding == "none":
            return self.size, self.size
        longest = max(self.width, self.height)
        return (
            max(1, round(self.width * self.size / longest)),
            max(1, round(self.height * self.size / longest)),
        )

    @property
    def offset(self) -> tuple[int, int]:
        """(x, y) of the input where the image begins."""
        if not RESIZINGS[self.mode].centred:
            return 0, 0
        width, height = self.extent
        return (self.size - width) // 2, (self.size - height) // 2

    @property
    def scale(self) -> NDArray[np.float64]:
        """(w/W, h/H): (2,)."""
        return np.array(self.extent, dtype=np.float64) / (self.width, self.height)

    def placed(self, placing: Placing) -> NDArray[np.float64]:
        """Scale of x and y, (2,), by which a placing moves keypoints."""
        if placing.scale == "longest":
            return np.full(2, self.size / max(self.width, self.height))
        if placing.scale == "corners":
            whole = np.maximum(np.array([self.width, self.height], dtype=np.float64) - 1, 1)
            return (np.array(self.extent, dtype=np.float64) - 1) / whole
        return self.scale

    def to_input(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map (..., 2) positions in the original to the input: x' = (x + 0.5) w/W - 0.5, and the offset."""
        return (_points(points) + 0.5) * self.scale - 0.5 + self.offset

    def to_original(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map (..., 2) positions in the input to the original, the inverse of `to_input`.

        With padding a position in it is moved to the image's nearest edge (the outer edge of its border pixels, -0.5
        and W - 0.5), so that what lies on the image maps as with ``stretch``.
        """
        original = (_points(points) - self.offset + 0.5) / self.scale - 0.5
        if RESIZINGS[self.mode].padding != "none":
            original = np.clip(original, -0.5, np.array([self.width, self.height]) - 0.5)
        return original


def _points(points: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(points, dtype=np.float64)
    if array.shape[-1:] != (2,):
        raise ValueError(f"points must be (..., 2), not {array.shape}")
    return array


def resize(image: NDArray[np.uint8], size: int, mode: ResizeMode = "stretch") -> Pixels:
    """Resize to a square; `Frame` has the geometry.

    Args:
        image: (H, W, 3) uint8.
        size: side of the square.
        mode: ``stretch`` ignores the aspect ratio, with PIL's antialiased bicubic filter; ``pad`` keeps it and fills
            right and below with black. The others are in `RESIZINGS`.

    Returns:
        (size, size, 3) uint8; float32 from 0 to 255 where the filter works on floats.
    """
    height, width = image.shape[:2]
    chosen = RESIZINGS[mode]
    frame = Frame(width, height, size, mode)
    if chosen.filter is None:
        floats = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
        square = torch.nn.functional.interpolate(floats, (size, size), mode="bilinear", align_corners=False)
        return np.ascontiguousarray(square[0].permute(1, 2, 0).numpy())
    extent = frame.extent
    small = np.asarray(Image.fromarray(image).resize(extent, chosen.filter))
    if extent == (size, size):
        return small
    left, top = frame.offset
    padded = np.zeros((size, size, 3), dtype=np.uint8)
    padded[top : top + extent[1], left : left + extent[0]] = small
    return padded

"""Decoding of any image file to RGB, its pixels as they were annotated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from peftcorr.data.exif import STORED, Header, header, orientation, turned
from peftcorr.data.jpeg import without_end
from peftcorr.errors import PeftCorrError, reason
from peftcorr.files.reading import opened, read_bytes
from peftcorr.files.signatures import what_lies_at

MAX_PIXELS = 178_956_970  # half a gigabyte as RGB; telephones take photographs of 108 million
Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # PIL's own, above which it warns, is half of that


def decode(path: Path, annotated_size: Sequence[int] | None = None) -> NDArray[np.uint8]:
    """Decode an image file to RGB.

    16-bit grey is scaled to 8 bits, transparency is laid on white as viewers show it, and an animation gives
    its first frame. Pixels come as stored, unless the annotation says that its author saw them turned.

    Args:
        path: image file.
        annotated_size: W, H that the annotation gives, empty or None if it gives none; with a third number, the EXIF
            orientation to apply to the stored pixels (1 for none), which gives an image of W x H. Without it an
            orientation is followed where only the shown picture is of that size.

    Returns:
        (H, W, 3) uint8.

    Raises:
        PeftCorrError: if the file is missing, truncated, corrupt, too large or not as large as annotated.
    """
    with _opened(path) as image:
        drawn = orientation(image) if isinstance(image, TiffImageFile) else STORED
        whole = _loaded(image, path)
        return np.asarray(rgb(_oriented(whole, drawn, annotated_size or (), path), path))


def decode_shown(path: Path) -> NDArray[np.uint8]:
    """Decode an image file as viewers show it: `decode` with its EXIF orientation followed.

    Raises:
        PeftCorrError: as `decode`.
    """
    told = read_header(path)
    return decode(path, (*told.shown, told.orientation))


def read_header(path: Path) -> Header:
    """Size and orientation of an image file, whose pixels are not decoded.

    Raises:
        PeftCorrError: if the file is missing or no image.
    """
    with _opened(path) as image, opened(path) as stream:
        return header(image, stream)


def stored_size(path: Path) -> tuple[int, int]:
    """(W, H) of an image file as its header gives it; the pixels are not read.

    Raises:
        PeftCorrError: if the file is missing or no image.
    """
    with _opened(path) as image:
        return image.size


def decoded_size(path: Path) -> tuple[int, int]:
    """W, H of an image whose annotation has none; its pixels come as stored, so the header says it."""
    try:
        return stored_size(path)
    except PeftCorrError:
        height, width = decode(path).shape[:2]
        return width, height


def _loaded(image: Image.Image, path: Path) -> Image.Image:
    """The image with its pixels; one whose file lacks only the mark at its end is whole."""
    try:
        image.load()
        return image
    except OSError:
        whole = without_end(read_bytes(path))
        if whole is None:
            raise
        return whole


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image; what goes wrong in the block is told as one sentence about it."""
    try:
        with opened(path) as stream, Image.open(stream) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
            yield image
    except PeftCorrError:
        raise
    except FileNotFoundError:
        raise PeftCorrError(f"The image {path} is missing.") from None
    except Image.DecompressionBombError as error:
        raise PeftCorrError(
            f"The image {path} is too large to be a photograph ({error}): limit {MAX_PIXELS} pixels."
        ) from error
    except Exception as error:  # damaged files make PIL's decoders raise errors of many kinds
        what = what_lies_at(path) if isinstance(error, UnidentifiedImageError) else None
        raise PeftCorrError(
            f"The image {path} cannot be decoded: {what}."
            if what
            else f"The image {path} cannot be decoded ({reason(error)}): copy it again."
        ) from error


def _oriented(image: Image.Image, drawn: int, annotated: Sequence[int], path: Path) -> Image.Image:
    """A loaded image, to which PIL did what the orientation `drawn` asks for, in the frame that was annotated."""
    if len(annotated) == 3:
        found = turned(image, annotated[2], drawn)
    elif not annotated or image.size == tuple(annotated):
        return image
    else:
        found = turned(image, orientation(image) if drawn == STORED else STORED, drawn)
    if found.size == tuple(annotated[:2]):
        return found
    raise PeftCorrError(
        f"The image {path} is {image.width} x {image.height} but its annotation says "
        f"{annotated[0]} x {annotated[1]}: is it the file that was annotated?"
    )


def rgb(image: Image.Image, path: Path | str) -> Image.Image:
    """A loaded image in 8-bit RGB; `decode` says how. Messages call it by its path, or by another name.

    Raises:
        PeftCorrError: if its values have no fixed range.
    """
    if image.mode.startswith("I"):
        return Image.fromarray(_eight_bits(np.asarray(image), path)).convert("RGB")
    if image.mode == "F":
        raise PeftCorrError(
            f"The image {path} holds floating-point values, which have no fixed white: use PNG."
        )
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _eight_bits(values: NDArray[np.integer], path: Path | str) -> NDArray[np.uint8]:
    """Scale 0..65535 to 0..255, rounded; a plain conversion would clip nearly everything to white."""
    wide = values.astype(np.int64)
    if wide.size and (wide.min() < 0 or wide.max() > 65535):
        raise PeftCorrError(f"The image {path} holds more than 16 bits a pixel: save it with 8 or 16.")
    return ((wide * 255 + 32767) // 65535).astype(np.uint8)

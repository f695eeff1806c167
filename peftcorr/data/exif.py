"""How a photograph is stored and how it is shown: a camera that is turned stores its pixels as they come, with a note.

The note is the EXIF tag ``Orientation``, 1 to 8 (CIPA DC-008): 1 is as stored, 2 to 4 mirror or turn by half, 5 to 8
change width and height.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

STORED = 1
_TAG = 0x0112
_QUARTERS = (5, 6, 7, 8)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BACK = {6: 8, 8: 6}  # what undoes a turn; each of the others undoes itself
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")  # chunks of a PNG file
_NOTES = (b"Raw profile type", b"XML:com.adobe.xmp")  # what those are called that may say how it is turned
_MOST_CHUNKS = 1 << 16


def shown_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(W, H) after a turn."""
    return (size[1], size[0]) if orientation in _QUARTERS else size


@dataclass(frozen=True)
class Header:
    """What an image file says of itself: (W, H) as stored, and its orientation."""

    size: tuple[int, int]
    orientation: int

    @property
    def shown(self) -> tuple[int, int]:
        """(W, H) as shown."""
        return shown_size(self.size, self.orientation)


def header(image: Image.Image, stream: IO[bytes]) -> Header:
    """The header of an image that was opened from `stream`, without its pixels.

    A PNG file may say behind its pixels how it is turned, for which PIL decodes it: only one that does say so is.
    """
    if image.format == "PNG" and not _png_says(stream):
        return Header(image.size, STORED)
    if isinstance(image, TiffImageFile):
        found = orientation(image)
        return Header(shown_size(image.size, found), found)  # PIL gives the size as shown
    return Header(image.size, orientation(image))


def _png_says(stream: IO[bytes]) -> bool:
    """Whether some chunk of a PNG file may say how it is turned; only the beginnings of chunks are read."""
    place = 8
    for _ in range(_MOST_CHUNKS):
        stream.seek(place)
        begin = stream.read(32)
        kind = begin[4:8]
        if kind == b"eXIf" or (kind in _TEXTS and any(begin[8:].startswith(note) for note in _NOTES)):
            return True
        if len(begin) < 8 or kind == b"IEND":
            return False
        place += 12 + int.from_bytes(begin[:4], "big")
    return False


def orientation(image: Image.Image) -> int:
    """Orientation of an image, 1 to 8; of one without, or whose EXIF is damaged, 1."""
    try:
        tags = image.tag_v2 if isinstance(image, TiffImageFile) else image.getexif()
        found = tags.get(_TAG)
    except Exception:  # unreadable EXIF tells no orientation
        return STORED
    return found if type(found) is int and found in _TURNS else STORED


def turned(image: Image.Image, wanted: int, tiff: int = STORED) -> Image.Image:
    """A loaded image in the frame that an orientation stands for, as pixels alone.

    Args:
        image: as PIL loaded it: as stored, but for TIFF, which it turns itself.
        wanted: what is to be done to the stored pixels.
        tiff: what PIL did to them already.
    """
    if tiff == wanted:
        return image
    if tiff != STORED:
        image = image.transpose(_TURNS[_BACK.get(tiff, tiff)])
    return image if wanted == STORED else image.transpose(_TURNS[wanted])

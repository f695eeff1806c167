"""Images: decoding any file to RGB, and keeping each image once, resized."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from peftcorr.data.exif import STORED, Header, header, orientation, turned
from peftcorr.data.frame import RESIZINGS, Frame, ResizeMode, resize
from peftcorr.data.jpeg import without_end
from peftcorr.data.scratch import ScratchRows
from peftcorr.errors import PeftCorrError, reason
from peftcorr.files.reading import opened, read_bytes
from peftcorr.files.signatures import what_lies_at
from peftcorr.machine.processors import share_of_processors

__all__ = ["Frame", "ImageStore", "ResizeMode", "decode", "resize"]

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


class ImageStore:
    """Resized images by path, each decoded once, on first use.

    They are kept in a temporary file: memory is bounded by what the operating system cares to cache, and nothing
    stays behind after a crash.

    Args:
        image_root: folder that the paths are relative to.
        size: side of the square input, in pixels.
        mode: how images are made square.
        workers: threads that decode a batch (PIL releases the interpreter's lock); by default as many as this process
            has cores.

    Attributes:
        decodes: how many files were decoded so far.
    """

    def __init__(self, image_root: Path, size: int, mode: ResizeMode = "stretch", workers: int | None = None):
        self.image_root = image_root
        self.size = size
        self.mode: ResizeMode = mode
        self.decodes = 0
        self._workers = workers or share_of_processors()
        self._lock = threading.Lock()
        self._start_empty()

    def _start_empty(self) -> None:
        self._process = os.getpid()
        self._rows = ScratchRows("decoded images")
        self._slots: dict[str, tuple[ScratchRows, int]] = {}
        self._frames: dict[str, Frame] = {}
        self._turns: dict[str, tuple[int, ...]] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, path: str) -> bool:
        return path in self._slots and self._process == os.getpid()

    def add(self, paths: Sequence[str], sizes: Sequence[Sequence[int]] | None = None) -> None:
        """Decode the images that are not in the store yet.

        Args:
            paths: image paths below the image root; repeats cost nothing.
            sizes: annotated size of each, as `decode` takes it; None, or empty for an image without one.

        Raises:
            PeftCorrError: if an image cannot be decoded, is not of its annotated size, or the disk is full.
        """
        with self._lock:
            if self._process != os.getpid():
                self._start_empty()  # after a fork, two processes would write to the same places of one file
            new: dict[str, tuple[int, ...]] = {}
            for index, path in enumerate(paths):
                size = _annotated(sizes[index] if sizes is not None else ())
                if path in self._frames:
                    self._agree(path, size)
                else:
                    new[path] = size or new.get(path, ())
            for path, (frame, pixels) in zip(new, self._decoded(new), strict=True):
                self._slots[path] = self._rows, len(self._rows)
                self._rows.write(len(self._rows), pixels[None])
                self._frames[path] = frame
                self._turns[path] = new[path][2:]
                self.decodes += 1

    def get(self, paths: Sequence[str], sizes: Sequence[Sequence[int]] | None = None) -> torch.Tensor:
        """Return a batch of images, decoding those that are new.

        Args:
            paths: image paths below the image root.
            sizes: as in `add`.

        Returns:
            (B, 3, size, size) uint8, or float32 from 0 to 255 where the mode works on floats.

        Raises:
            PeftCorrError: as `add`.
        """
        self.add(paths, sizes)
        return self._read(paths)

    def _read(self, paths: Sequence[str]) -> torch.Tensor:
        found = [self._slots[path] for path in paths]
        files = {id(rows): rows for rows, _ in found}
        if len(files) == 1:
            return found[0][0].read([slot for _, slot in found])
        images = torch.empty((len(paths), 3, self.size, self.size), dtype=RESIZINGS[self.mode].dtype)
        for rows in files.values():
            places = [place for place, (own, _) in enumerate(found) if own is rows]
            images[places] = rows.read([found[place][1] for place in places])
        return images

    def put_into(
        self, rows: ScratchRows, slots: Mapping[str, int], sizes: Mapping[str, Sequence[int]]
    ) -> dict[str, Frame]:
        """Write images into a file that other processes read too, decoding those that are new.

        Args:
            rows: of the file.
            slots: row of each image, by path.
            sizes: annotated sizes, by path.

        Returns:
            geometry of each, for `adopt`.

        Raises:
            PeftCorrError: as `add`.
        """
        with self._lock:
            new = {path: _annotated(sizes[path]) for path in slots if path not in self}
            frames = {}
            for path, (frame, pixels) in zip(new, self._decoded(new), strict=True):
                rows.write(slots[path], pixels[None])
                frames[path] = frame
                self.decodes += 1
            for path in slots.keys() - new.keys():
                rows.write(slots[path], self._read([path]))
                frames[path] = self._frames[path]
            return frames

    def adopt(
        self,
        rows: ScratchRows,
        slots: Mapping[str, int],
        frames: Mapping[str, Frame],
        sizes: Mapping[str, Sequence[int]],
    ) -> None:
        """Have images that lie in a file, whoever wrote them: see `put_into`."""
        with self._lock:
            for path in slots.keys() - self._slots.keys():
                self._slots[path] = rows, slots[path]
                self._frames[path] = frames[path]
                self._turns[path] = _annotated(sizes[path])[2:]

    def frame(self, path: str, size: Sequence[int] = ()) -> Frame:
        """Geometry of one image, which is decoded if it is new; `size` is its annotated [W, H]."""
        self.add([path], [size])
        return self._frames[path]

    def sizes(self, paths: Sequence[str], sizes: Sequence[Sequence[int]]) -> NDArray[np.int32]:
        """W, H of images as `decode` gives them, (len(paths), 2), without decoding one.

        Args:
            paths: image paths below the image root.
            sizes: annotated [W, H] of each, empty for an image without one.

        Raises:
            PeftCorrError: if an image whose size is neither annotated nor known yet cannot be read.
        """
        found = np.empty((len(paths), 2), dtype=np.int32)
        for index, (path, size) in enumerate(zip(paths, sizes, strict=True)):
            frame = self._frames.get(path)
            if frame is not None:
                found[index] = frame.width, frame.height
            else:  # decoded by another process, or not at all where its features were kept
                found[index] = _annotated(size)[:2] or _header_size(self.image_root / path)
        return found

    def _decoded(self, new: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[Frame, torch.Tensor]]:
        if len(new) < 2:
            yield from map(self._decode, new.keys(), new.values())
            return
        with ThreadPoolExecutor(min(self._workers, len(new))) as pool:
            yield from pool.map(self._decode, new.keys(), new.values())

    def _decode(self, path: str, size: tuple[int, ...]) -> tuple[Frame, torch.Tensor]:
        image = self._original(path, size)
        pixels = resize(image, self.size, self.mode).transpose(2, 0, 1).copy()
        return Frame(image.shape[1], image.shape[0], self.size, self.mode), torch.from_numpy(pixels)

    def _original(self, path: str, size: tuple[int, ...]) -> NDArray[np.uint8]:
        return decode(self.image_root / path, size)

    def _agree(self, path: str, size: tuple[int, ...]) -> None:
        frame = self._frames[path]
        if size and size[:2] != (frame.width, frame.height):
            raise PeftCorrError(
                f"The image {self.image_root / path} is {frame.width} x {frame.height}, but one of its "
                f"annotations says {size[0]} x {size[1]}."
            )
        if size and size[2:] != self._turns[path]:
            raise PeftCorrError(
                f"The image {self.image_root / path} is stored turned, and was annotated as stored in one split and as "
                "shown in another: choose with --set dataset.exif=stored or dataset.exif=shown."
            )


def _header_size(path: Path) -> tuple[int, int]:
    """W, H of an image whose annotation has none; its pixels come as stored, so the header says it."""
    try:
        return stored_size(path)
    except PeftCorrError:
        height, width = decode(path).shape[:2]
        return width, height


def _annotated(size: Sequence[int]) -> tuple[int, ...]:
    return tuple(map(int, size))

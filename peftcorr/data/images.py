"""Images of a backbone's size, each kept once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from peftcorr.data.decode import decode, decoded_size
from peftcorr.data.frame import RESIZINGS, Frame, ResizeMode, resize
from peftcorr.data.scratch import ScratchRows
from peftcorr.errors import PeftCorrError
from peftcorr.machine.processors import share_of_processors

__all__ = ["Frame", "ImageStore", "ResizeMode", "decode", "resize"]


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
                found[index] = _annotated(size)[:2] or decoded_size(self.image_root / path)
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


def _annotated(size: Sequence[int]) -> tuple[int, ...]:
    return tuple(map(int, size))

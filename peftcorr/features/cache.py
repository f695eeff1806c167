"""What frozen tensors make of images, on disk: what an earlier run encoded is mapped into memory, not encoded again.

``<cache>/features/<encoder>/<images>.safetensors`` has the features of frozen backbones; ``<cache>/prefixes`` what the
frozen blocks before the first trainable one give, for all trainings that have them in common. The folder is named after
everything that decides that besides the image (every tensor of the backbone, its options and code, size, resize mode,
precision), the tensors in it after the image (its bytes, category, path and annotated size). A file is used only after
its identity and the checksum of its content were found right; one that is cut short, altered or another encoder's is
deleted and written anew.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from peftcorr.console.numbers import memory
from peftcorr.data.correspondences import Correspondences, Ints
from peftcorr.data.images import Frame, ImageStore
from peftcorr.errors import PeftCorrError, reason
from peftcorr.features.encode import Encoder
from peftcorr.features.identity import ImageKey, Stamp, encoder_identity, file_stamp, image_keys
from peftcorr.features.kept import Kept
from peftcorr.files import replacing
from peftcorr.machine.folders import Place

FEATURES, PREFIXES = "features", "prefixes"
ABOUT = "about.json"
_SPARE = 64 << 20  # bytes left free on the disk
_DAMAGE = (OSError, ValueError, KeyError, TypeError, SafetensorError)  # what reading damaged files raises

Shape = tuple[int, ...]
Sizes = dict[str, tuple[int, int]]  # key of an image -> W, H of its original


class FeatureCache:
    """All that is kept below one folder.

    Args:
        folder: the cache folder of peftcorr; features and prefixes have folders of their own in it.
        weights_id: how people call the weights; shown by ``peftcorr cache ls``, nothing depends on it.
        limit: bytes that features and prefixes may take together; what was used least of late makes room.
    """

    def __init__(self, folder: Path, weights_id: str, limit: int | None = None):
        self._folder, self._weights_id, self._limit = folder, weights_id, limit

    def shelf(
        self,
        data: Correspondences,
        store: ImageStore,
        encoder: Encoder,
        images: Ints,
        shape: Shape,
        say: Callable[[str], None],
        before: int | None = None,
        dtype: torch.dtype = torch.float32,
        form: str | None = None,
    ) -> Shelf:
        """Open what is kept for an encoder, and say how much will be written for `images`.

        Args:
            data: has the images.
            store: brings them to the encoder's size.
            encoder: what it is kept of.
            images: numbers of those that will be asked for.
            shape: of what is kept of one.
            say: is told.
            before: block whose input is kept; None for features.
            dtype: in which it is kept.
            form: what was done to features before they are kept, where it is not what the protocol does.

        Raises:
            PeftCorrError: if the disk, or the limit, has no room for that, or an image is missing.
        """
        kind = FEATURES if before is None else PREFIXES
        identity = encoder_identity(encoder, store, before) | ({} if before is None else {"kept": str(dtype)})
        identity |= {} if form is None else {"form": form}
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        about = {"backbone": type(encoder.backbone).__name__, "weights": self._weights_id, **identity}
        keys = image_keys(data, store, images)
        shelf = Shelf(self._folder / kind / digest[:32], digest, about, keys, shape, store)
        new = sum(image.key not in shelf for image in keys.values())
        what = "features" if before is None else f"output of the first {before} blocks"
        name = "Feature cache" if before is None else "Shared blocks"
        if new:
            size = new * dtype.itemsize * math.prod(shape)
            self._require(size, new, what, shelf.folder)
            say(f"{name}: {len(keys) - new} of {len(keys)} images are kept; the other {new} will take "
                f"{memory(size)} below {self._folder / kind}.")  # fmt: skip
        else:
            say(f"{name}: the {what} of all {len(keys)} images {'are' if before is None else 'is'} kept.")
        return shelf

    def _require(self, size: int, images: int, what: str, own: Path) -> None:
        if self._limit is not None:
            make_room(self._folder, self._limit - size, own)
        place = Place(
            "feature cache", own.parent, "set PEFTCORR_CACHE to another, or leave out --feature-cache"
        )
        try:
            place.require_writable()
        except PeftCorrError as error:
            raise NoRoom(str(error)) from error
        free = place.free()
        if self._limit is not None and size > self._limit:
            raise NoRoom(
                f"The {what} of {images} images would take {memory(size)}, more than --cache-limit allows: raise it."
            )
        if free < size + _SPARE:
            raise NoRoom(
                f"The {what} of {images} images need {memory(size)} below {self._folder}, but the disk has "
                f"{memory(free)} free: free some space, set PEFTCORR_CACHE to another disk, or leave out "
                "--feature-cache."
            )


class NoRoom(PeftCorrError):
    """The cache cannot take what was to be kept."""

    def instead(self) -> str:
        """What is said where a run goes on without."""
        return f"{self} Until then every run computes it again."


class IfRoom:
    """The features of a `FeatureCache` that nobody asked for: kept for other runs where there is room for them."""

    def __init__(self, cache: FeatureCache):
        self._cache = cache

    def shelf(
        self,
        data: Correspondences,
        store: ImageStore,
        encoder: Encoder,
        images: Ints,
        shape: Shape,
        say: Callable[[str], None],
        *,
        form: str | None = None,
    ) -> Shelf | None:
        """See `MapCache`; None, and said, where there is no room."""
        try:
            return self._cache.shelf(data, store, encoder, images, shape, say, form=form)
        except NoRoom as error:
            say(error.instead())
            return None


def make_room(cache: Path, limit: int, spared: Path) -> None:
    """Delete kept features and prefixes, those used least of late first, until they take at most `limit` bytes.

    Args:
        cache: the cache folder.
        limit: in bytes.
        spared: a folder that is not deleted.
    """
    folders = [
        path for kind in (FEATURES, PREFIXES) for path in (cache / kind).glob("[!.]*") if path.is_dir()
    ]
    sizes = {path: sum(file.stat().st_size for file in path.glob("*.safetensors")) for path in folders}
    total = sum(sizes.values())
    for path in sorted(folders, key=lambda path: path.stat().st_mtime):
        if total <= limit:
            return
        if path != spared:
            shutil.rmtree(path, ignore_errors=True)  # who has it mapped goes on with it
            total -= sizes[path]


@dataclass(frozen=True)
class _File:
    """A file of the shelf as it was when its header was read."""

    path: Path
    stamp: Stamp


class Shelf:
    """The features of one encoder, for the images of one split."""

    def __init__(
        self,
        folder: Path,
        digest: str,
        about: dict[str, str],
        keys: dict[int, ImageKey],
        shape: Shape,
        store: ImageStore,
    ):
        self.folder = self._folder = folder
        self._digest, self._about, self._keys = digest, about, keys
        self._shape, self._size, self._mode = shape, store.size, store.mode
        self._sound: set[_File] = set()
        self._index: dict[str, _File] = {}
        self._damaged: set[_File] = set()
        self._changing = Lock()  # of the index: one thread reads ahead while another keeps what is new
        with suppress(OSError):
            os.utime(folder)  # used of late
        self.scan()

    def __contains__(self, key: str) -> bool:
        return key in self._index

    def get(self, images: Ints) -> dict[int, Kept]:
        """Those of `images` that are kept, mapped from their files, by number."""
        by_file: dict[_File, list[int]] = {}
        for image in images.tolist():
            file = self._index.get(self._keys[image].key)
            if file is not None:
                by_file.setdefault(file, []).append(image)
        found: dict[int, Kept] = {}
        for file, numbers in by_file.items():
            found |= self._trusted(file, numbers)
        return found

    def put(self, images: Ints, features: Tensor, frames: Sequence[Frame]) -> None:
        """Keep the normalised maps (len(images), h, w, C) of some images in one file.

        Raises:
            PeftCorrError: if it cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / ".lock"):
                self.scan()  # another process may have kept some of them by now
                new = {
                    self._keys[image].key: (feature.contiguous().cpu(), (frame.width, frame.height))
                    for image, feature, frame in zip(images.tolist(), features, frames, strict=True)
                    if self._keys[image].key not in self._index and self._keys[image].unchanged()
                }
                if new:
                    self._write(
                        {key: feature for key, (feature, _) in new.items()},
                        {key: size for key, (_, size) in new.items()},
                    )
        except (OSError, SafetensorError) as error:
            raise PeftCorrError(
                f"Cannot keep what was encoded below {self._folder} ({reason(error)}): free some space, set "
                "PEFTCORR_CACHE to another disk, or leave out --feature-cache."
            ) from error

    def _write(self, tensors: dict[str, Tensor], sizes: Sizes) -> None:
        """Write a file of some images, whole or not at all, under the lock."""
        (self._folder / ABOUT).write_text(json.dumps(self._about, indent=1), encoding="utf-8")
        seal = _seal(self._digest, tensors, sizes)
        path = self._folder / f"{seal[:32]}.safetensors"
        with replacing(path) as partial:
            save_file(tensors, partial, {"encoder": self._digest, "sizes": json.dumps(sizes), "seal": seal})
        file = _File(path, file_stamp(path))
        self._sound.add(file)
        self._enter(list(tensors), file)

    def scan(self) -> None:
        """Read the headers of the files that are new since the last time."""
        known = {*self._index.values(), *self._damaged}
        for path in sorted(self._folder.glob("*.safetensors")):
            with suppress(FileNotFoundError):  # another process found it damaged and deleted it
                file = _File(path, file_stamp(path))
                if file not in known:
                    self._enter(self._header(file), file)

    def _enter(self, keys: list[str], file: _File) -> None:
        with self._changing:
            self._index.update(dict.fromkeys(keys, file))

    def _header(self, file: _File) -> list[str]:
        """Keys of the images in a file; none, and no file any more, if it is damaged or another encoder's."""
        try:
            with safe_open(file.path, "pt") as content:
                if (content.metadata() or {}).get("encoder") == self._digest:
                    return list(content.keys())
        except FileNotFoundError:
            raise
        except _DAMAGE:
            pass
        self._discard(file)
        return []

    def _trusted(self, file: _File, images: list[int]) -> dict[int, Kept]:
        """Features of some images; none, and no file any more, if its content is not what it was."""
        try:
            return self._read(file, images)
        except _DAMAGE:
            self._discard(file)
            return {}

    def _read(self, file: _File, images: list[int]) -> dict[int, Kept]:
        """Map some images' features into memory; checks the whole file the first time."""
        with safe_open(file.path, "pt") as content:
            if file_stamp(file.path) != file.stamp:
                raise ValueError("another file than it was")
            metadata = content.metadata()
            sizes: Sizes = json.loads(metadata["sizes"])
            if file not in self._sound:
                tensors = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118
                if metadata["seal"] != _seal(self._digest, tensors, sizes):
                    raise ValueError("checksum differs")
                if any(tensor.shape != self._shape for tensor in tensors.values()):
                    raise ValueError("of another shape")
                self._sound.add(file)
            keys = {image: self._keys[image].key for image in images}
            return {
                image: Kept(content.get_tensor(key), Frame(*sizes[key], self._size, self._mode))
                for image, key in keys.items()
            }

    def _discard(self, file: _File) -> None:
        """Forget a file that cannot be trusted, and delete it unless another process has replaced it already."""
        with self._changing:
            self._damaged.add(file)  # it may be there for a while: until whoever writes gives the lock away
            self._index = {key: other for key, other in self._index.items() if other != file}
        with suppress(OSError), FileLock(self._folder / ".lock"):
            if file_stamp(file.path) == file.stamp:
                file.path.unlink()


def _seal(digest: str, tensors: dict[str, Tensor], sizes: Sizes) -> str:
    """Checksum of a file's content, bound to the encoder that it is of."""
    seal = hashlib.sha256(digest.encode())
    for key in sorted(tensors):
        tensor = tensors[key]
        seal.update(json.dumps([key, sizes[key], list(tensor.shape), str(tensor.dtype)]).encode())
        seal.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return seal.hexdigest()

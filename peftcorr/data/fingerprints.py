"""Whether images that are tested on were trained on too, though their files differ.

SPair-71k, PF-Pascal and others share PASCAL's photographs, and PF-Pascal's are smaller copies of them, which no hash of
files or pixels would find. So each image has a fingerprint of the square input that was made of it, which a run has at
hand: nothing is decoded for this. It has three parts:

- a hash of the input's pixels, equal for the same picture in whatever file;
- the 64-bit difference hash (N. Krawetz, "Kind of Like That", 2013): is a cell of a 9 x 8 grey thumbnail darker than
  its right neighbour;
- a 16 x 16 thumbnail in colour.

Two images are copies when at most `MOST_BITS` bits differ, and their thumbnails by at most `MOST_GREY` levels (root
mean square). Of 865 photographs of animal-pairs, PF-Pascal and PF-Willow at 224 px, copies (every third one saved again
as JPEG of quality 40 to 90, at full size down to a third) differ in at most 6 bits and 5.1 levels. 96 of the 373,636
pairs of distinct photographs differ in at most 10 bits as well, bottles before white for the most part, but none of
those by less than 23.8 levels. Thumbnails alone would not do either: those of dim pictures are close to each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from peftcorr.data.images import ImageStore
from peftcorr.data.leakage import Leakage

MOST_BITS = 10
MOST_GREY = 10.0

Fingerprints = NDArray[np.uint8]  # (I, BYTES): a row an image

_EXACT, _BITS, _SIDE = 8, 8, 16  # bytes of both hashes, cells of the thumbnail's side
BYTES = _EXACT + _BITS + 3 * _SIDE * _SIDE
_CHUNK = 32  # images read at once
_EXAMPLES = 5

# A store decodes each path once, so that what is known of a path stays true as long as the store lives.
_known: WeakKeyDictionary[ImageStore, dict[str, Fingerprints]] = WeakKeyDictionary()


def fingerprints(
    store: ImageStore, paths: Sequence[str], sizes: Sequence[Sequence[int]] | None = None
) -> Fingerprints:
    """Fingerprints of images, each computed once for a store.

    Args:
        store: has the images, or decodes them.
        paths: below the store's image root.
        sizes: annotated [W, H] of each, empty where there is none.

    Raises:
        PeftCorrError: if an image cannot be decoded.
    """
    known = _known.setdefault(store, {})
    new = [index for index, path in enumerate(paths) if path not in known]
    for start in range(0, len(new), _CHUNK):
        part = new[start : start + _CHUNK]
        of_part = [() if sizes is None else sizes[index] for index in part]
        pixels = store.get([paths[index] for index in part], of_part).round().to(torch.uint8).numpy()
        for index, size, image in zip(part, of_part, pixels, strict=True):
            frame = store.frame(paths[index], size)  # padding is no part of the picture
            (left, top), (width, height) = frame.offset, frame.extent
            own = image[:, top : top + height, left : left + width]
            known[paths[index]] = fingerprint(own.transpose(1, 2, 0))
    return np.stack([known[path] for path in paths]) if paths else np.empty((0, BYTES), np.uint8)


def fingerprint(pixels: NDArray[np.uint8]) -> Fingerprints:
    """Fingerprint (BYTES,) of one image (h, w, 3)."""
    pixels = np.ascontiguousarray(pixels)
    image = Image.fromarray(pixels)
    exact = hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=_EXACT).digest()
    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX))
    bits = np.packbits(grey[:, :-1] < grey[:, 1:])
    thumbnail = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX))
    return np.concatenate((np.frombuffer(exact, np.uint8), bits, thumbnail.reshape(-1)))


def overlap(
    trained: Fingerprints, trained_paths: Sequence[str], tested: Fingerprints, tested_paths: Sequence[str]
) -> Leakage:
    """Count the tested images that are among the trained ones.

    Args:
        trained, tested: fingerprints (I, BYTES) of distinct files, made at one input size.
        trained_paths, tested_paths: their paths, for the examples.
    """
    exact, bits, thumbnails = _parts(trained)
    kinds = {"identical": 0, "near": 0}
    examples: list[list[str]] = []
    for path, own_exact, own_bits, own_thumbnail in zip(tested_paths, *_parts(tested), strict=True):
        kind, found = "identical", np.flatnonzero(exact == own_exact)
        if not len(found):
            kind, found = "near", _near(bits, thumbnails, own_bits, own_thumbnail)
        if len(found):
            kinds[kind] += 1
            examples += [[trained_paths[found[0]], path]] if len(examples) < _EXAMPLES else []
    return Leakage(trained_images=len(trained), tested_images=len(tested), **kinds, examples=examples)


def copies(prints: Fingerprints) -> Iterator[tuple[int, int]]:
    """Numbers (i, j), i < j, of images that are copies of each other.

    Args:
        prints: fingerprints (I, BYTES), made at one input size.
    """
    _, bits, thumbnails = _parts(prints)
    for i in range(len(prints)):
        later = _near(bits[i + 1 :], thumbnails[i + 1 :], bits[i], thumbnails[i])
        yield from ((i, i + 1 + int(j)) for j in later)


def _near(
    bits: NDArray[np.uint64], thumbnails: NDArray[np.uint8], own_bits: np.uint64, own: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Numbers of the images that one is a copy of."""
    found = np.flatnonzero(np.bitwise_count(bits ^ own_bits) <= MOST_BITS)
    levels = thumbnails[found].astype(np.float64) - own
    near: NDArray[np.int64] = found[np.sqrt((levels**2).mean(1)) <= MOST_GREY]
    return near


def _parts(
    prints: Fingerprints,
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint8]]:
    exact, bits, thumbnail = np.split(prints, (_EXACT, _EXACT + _BITS), axis=1)
    words = [np.ascontiguousarray(part).view(np.uint64).reshape(-1) for part in (exact, bits)]
    return words[0], words[1], thumbnail

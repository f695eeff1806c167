"""Synthetic pictures in SPair-71k's layout, as many as it has."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Of its test split.
IMAGES, CATEGORIES, PAIRS, KEYPOINTS = 481, 18, 12_234, 88_328
COPIES = {"test": 1, "trn": 3, "val": 9}  # how often each split lists every pair
WHOLE_IMAGES = 1_800
WHOLE = {"trn": 53_340, "val": 5_384, "test": 12_234}  # pairs of each of its splits
_LANDMARKS, _VISIBLE = 12, 0.79  # so that a pair shares 7.2 keypoints on average, as in SPair-71k


def write(root: Path, small: bool = False) -> Path:
    """Write the folder: ``test`` is of SPair-71k's size, the other splits list its pairs several times (`COPIES`).

    Args:
        root: to be made.
        small: two categories of four images alone.
    """
    sizes = [4, 4] if small else _spread(IMAGES)
    drawing = _Drawing(root, sizes)
    pairs = drawing.pairs(PAIRS)
    shared = [drawing.shared(*pair) for pair in pairs]
    _trim(shared, KEYPOINTS)
    for split, copies in COPIES.items():
        drawing.list(split, list(zip(pairs, shared, strict=True)) * copies)
    return root


def write_whole(root: Path, lists: Mapping[str, int] = WHOLE, images: int = WHOLE_IMAGES) -> Path:
    """Write the folder with as many pairs in each split as SPair-71k has, on as many images."""
    drawing = _Drawing(root, _spread(images))
    for split, count in lists.items():
        drawing.list(split, [(pair, drawing.shared(*pair)) for pair in drawing.pairs(count)])
    return root


def _spread(images: int) -> list[int]:
    """Images of each category."""
    return [images // CATEGORIES + (n < images % CATEGORIES) for n in range(CATEGORIES)]


class _Drawing:
    """The pictures, drawn and written, and what is seen on them."""

    def __init__(self, root: Path, sizes: list[int]) -> None:
        rng = np.random.default_rng(0)
        self._root = root
        self._points: list[NDArray[np.float64]] = []
        self._seen: list[NDArray[np.bool_]] = []
        self._extents: list[NDArray[np.int64]] = []
        for category, images in enumerate(sizes):
            folder = root / "JPEGImages" / f"category{category:02d}"
            folder.mkdir(parents=True)
            extent = np.column_stack((rng.integers(375, 501, images), rng.integers(333, 376, images)))
            for index in range(images):
                _picture(rng, *extent[index].tolist()).save(folder / f"{index:03d}.jpg", quality=92)
            self._extents.append(extent)
            self._points.append(
                np.round(rng.uniform(0.05, 0.95, (images, _LANDMARKS, 2)) * (extent[:, None] - 1))
            )
            self._seen.append(rng.random((images, _LANDMARKS)) < _VISIBLE)

    def pairs(self, count: int) -> list[tuple[int, int, int]]:
        """Category, source and target of evenly spaced pairs that share a keypoint, at most `count` of them."""
        every = [
            (category, source, target)
            for category, seen in enumerate(self._seen)
            for source, target in itertools.permutations(range(len(seen)), 2)
            if (seen[source] & seen[target]).any()
        ]
        count = min(len(every), count)
        return [every[index * len(every) // count] for index in range(count)]

    def shared(self, category: int, source: int, target: int) -> NDArray[np.int64]:
        """Indices of the landmarks that are seen on both."""
        return np.flatnonzero(self._seen[category][source] & self._seen[category][target])

    def list(self, split: str, pairs: list[tuple[tuple[int, int, int], NDArray[np.int64]]]) -> None:
        """Write a split's annotation: one file a pair, and the list of their names."""
        folder = self._root / "PairAnnotation" / split
        folder.mkdir(parents=True)
        names: list[str] = []
        for (category, source, target), keypoints in pairs:
            name = f"{len(names):06d}-{source:03d}-{target:03d}:category{category:02d}"
            annotation = _annotation(category, source, target, keypoints, self._points, self._extents)
            (folder / f"{name}.json").write_text(json.dumps(annotation), encoding="utf-8")
            names.append(name)
        layout = self._root / "Layout" / "large" / f"{split}.txt"
        layout.parent.mkdir(parents=True, exist_ok=True)
        layout.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def _trim(shared: list[NDArray[np.int64]], total: int) -> None:
    """Drop single keypoints of pairs that have several, until `total` are left (if there were more)."""
    surplus = sum(map(len, shared)) - total
    while surplus > 0:
        for index in range(len(shared)):
            if surplus > 0 and len(shared[index]) > 3:
                shared[index] = shared[index][:-1]
                surplus -= 1


def _picture(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Smooth colours with fine grain: about as many bytes, and as long to decode, as a photograph."""
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    grain = rng.integers(-24, 25, (height, width, 1), dtype=np.int16)
    return Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))


def _annotation(
    category: int,
    source: int,
    target: int,
    keypoints: NDArray[np.int64],
    points: list[NDArray[np.float64]],
    extents: list[NDArray[np.int64]],
) -> dict[str, object]:
    side: dict[str, object] = {}
    for prefix, image in (("src", source), ("trg", target)):
        width, height = extents[category][image].tolist()
        side |= {
            f"{prefix}_imname": f"{image:03d}.jpg",
            f"{prefix}_imsize": [width, height, 3],
            f"{prefix}_bndbox": [2, 2, width - 3, height - 3],
            f"{prefix}_kps": points[category][image][keypoints].tolist(),
        }
    return {
        **side,
        "category": f"category{category:02d}",
        "kps_ids": [str(keypoint) for keypoint in keypoints],
        "mirror": 0,
        "viewpoint_variation": 0,
        "scale_variation": 0,
        "truncation": 0,
        "occlusion": 0,
    }

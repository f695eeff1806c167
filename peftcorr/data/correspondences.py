"""A split as flat arrays: what evaluation and training index instead of looping over pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from peftcorr.data.base import PairDataset
from peftcorr.data.images import Frame, ImageStore

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Correspondences:
    """P pairs among I distinct (category, image), with N keypoint correspondences in all.

    Attributes:
        images: path of each image below the image root, (I,); sorted by category.
        categories: category of each image, (I,).
        sizes: annotated [W, H] of each image, empty where there is none.
        source, target: image of each pair, (P,).
        reference_length: s of each pair in original pixels, (P,).
        pair: pair of each correspondence, (N,).
        source_points, target_points: x, y in original pixels, (N, 2).
        keypoint_ids: (N,).
        pair_ids: (P,).
    """

    images: list[str]
    categories: list[str]
    sizes: list[list[int]]
    source: Ints
    target: Ints
    reference_length: Floats
    pair: Ints
    source_points: Floats
    target_points: Floats
    keypoint_ids: NDArray[np.str_]
    pair_ids: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.pair)

    def decode(self, store: ImageStore, chunk: int = 64) -> None:
        """Decode every image that is not in `store` yet."""
        for start in range(0, len(self.images), chunk):
            store.add(self.images[start : start + chunk], self.sizes[start : start + chunk])

    def to_input(self, points: Floats, image: Ints, store: ImageStore) -> Floats:
        """Map points (N, 2), each in its image's original frame, to pixels of the square input."""
        return self._geometry(image, store).to_input(points, image)

    def to_original(self, points: Floats, image: Ints, store: ImageStore) -> Floats:
        """Inverse of `to_input`; with padding, clipped to the image."""
        return self._geometry(image, store).to_original(points, image)

    def _geometry(self, image: Ints, store: ImageStore) -> Geometry:
        geometry = Geometry(len(self.images))
        numbers = np.unique(image)
        geometry.learn(numbers, [store.frame(self.images[number], self.sizes[number]) for number in numbers])
        return geometry


class Geometry:
    """Where the pixels of a split's I images lie in the square input; `Frame` for many images at once.

    It is filled in image by image as they are decoded, so that nobody has to decode an image for its size alone.
    """

    def __init__(self, images: int):
        self._scale = np.full((images, 2), np.nan)
        self._limit = np.full((images, 2), np.nan)

    def learn(self, numbers: Ints, frames: Sequence[Frame]) -> None:
        """Enter the frames of the images `numbers`."""
        if len(numbers):
            self._scale[numbers] = [frame.scale for frame in frames]
            self._limit[numbers] = [
                (frame.width, frame.height) if frame.mode == "pad" else (np.inf, np.inf) for frame in frames
            ]

    def to_input(self, points: Floats, image: Ints) -> Floats:
        """Map points (..., N, 2), each in the original frame of its image (N,), to pixels of the input."""
        moved: Floats = (points + 0.5) * self._scale[image] - 0.5
        return moved

    def to_original(self, points: Floats, image: Ints) -> Floats:
        """Inverse of `to_input`; with padding, clipped to the image."""
        original = (points + 0.5) / self._scale[image] - 0.5
        limit = self._limit[image] - 0.5
        # Without padding every position is one of the image's own, a little beyond its edge included.
        clipped: Floats = np.clip(original, np.where(np.isinf(limit), -np.inf, -0.5), limit)
        return clipped


def correspondences(dataset: PairDataset) -> Correspondences:
    """Flatten a split."""
    table = dataset.table.with_format("arrow")[:]
    category = _strings(table, "category")
    keys: dict[tuple[str, str], list[int]] = {}
    for side in ("source", "target"):
        sizes = table.column(f"{side}_size").to_pylist()
        for key, size in zip(
            zip(category, _strings(table, f"{side}_image"), strict=True), sizes, strict=True
        ):
            keys.setdefault(key, size or [])
    ordered = sorted(keys)
    number = {key: index for index, key in enumerate(ordered)}
    source = [number[key] for key in zip(category, _strings(table, "source_image"), strict=True)]
    target = [number[key] for key in zip(category, _strings(table, "target_image"), strict=True)]
    counts = np.diff(_list(table, "keypoint_ids").offsets.to_numpy())
    return Correspondences(
        images=[path for _, path in ordered],
        categories=[name for name, _ in ordered],
        sizes=[keys[key] for key in ordered],
        source=np.array(source, dtype=np.int64),
        target=np.array(target, dtype=np.int64),
        reference_length=table.column("reference_length").to_numpy(),
        pair=np.repeat(np.arange(len(table)), counts),
        source_points=_points(table, "source_keypoints"),
        target_points=_points(table, "target_keypoints"),
        keypoint_ids=np.array(_list(table, "keypoint_ids").flatten().to_pylist(), dtype=np.str_),
        pair_ids=np.array(_strings(table, "pair_id"), dtype=np.str_),
    )


def _strings(table: pa.Table, name: str) -> list[str]:
    values: list[str] = table.column(name).to_pylist()
    return values


def _list(table: pa.Table, name: str) -> pa.ListArray:
    column = table.column(name).combine_chunks()
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _points(table: pa.Table, name: str) -> Floats:
    values: Floats = _list(table, name).flatten().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(-1, 2)

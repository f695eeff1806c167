"""A split as flat arrays: what evaluation and training index instead of looping over pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from peftcorr.data.base import FACTORS, PairDataset
from peftcorr.data.frame import HALF_PIXEL, RESIZINGS, Placing
from peftcorr.data.images import Frame, ImageStore
from peftcorr.errors import PeftCorrError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.int32]  # of what there is one of for each correspondence

_BETWEEN = "\0"  # before every letter, so that names sort by category first


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
        keypoint: which of `keypoint_names` each correspondence is, (N,).
        keypoint_names: identity of every keypoint there is, sorted.
        pair_ids: (P,).
        occluded: whether the target hides each correspondence's point, (N,); None where the dataset does not tell.
        factors: of each pair, int8 (P,) or null, by the names in `peftcorr.data.base.FACTORS`.
        source_box, target_box: x1, y1, x2, y2 of each pair's objects, (P, 4), NaN where there is none.
    """

    images: list[str]
    categories: list[str]
    sizes: list[list[int]]
    source: Ints
    target: Ints
    reference_length: Floats
    pair: Codes
    source_points: Floats
    target_points: Floats
    keypoint: Codes
    keypoint_names: list[str]
    pair_ids: pa.StringArray
    occluded: NDArray[np.bool_] | None = None
    factors: dict[str, pa.Int8Array] = field(default_factory=dict)
    source_box: Floats | None = None
    target_box: Floats | None = None

    def __len__(self) -> int:
        return len(self.pair)

    @property
    def visible(self) -> NDArray[np.bool_] | slice:
        """What picks those correspondences that the target is not said to hide; all of them without a copy."""
        return slice(None) if self.occluded is None else ~self.occluded

    @property
    def n_visible(self) -> int:
        """How many those are."""
        return len(self) if self.occluded is None else int(np.count_nonzero(~self.occluded))

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

    Args:
        images: I.
        placing: how keypoints are moved.

    Attributes:
        sizes: W, H of the originals, (I, 2); NaN of those that are not known yet.
    """

    def __init__(self, images: int, placing: Placing = HALF_PIXEL):
        self._placing = placing
        self.sizes = np.full((images, 2), np.nan)
        self._scale = np.full((images, 2), np.nan)
        self._offset = np.zeros((images, 2))
        self._last = np.full((images, 2), np.nan)  # centres of the last pixels that the image covers
        self._limit = np.full((images, 2), np.nan)

    def learn(self, numbers: Ints, frames: Sequence[Frame]) -> None:
        """Enter the frames of the images `numbers`."""
        if len(numbers):
            self.sizes[numbers] = [(frame.width, frame.height) for frame in frames]
            self._scale[numbers] = [frame.placed(self._placing) for frame in frames]
            self._offset[numbers] = [frame.offset for frame in frames]
            self._last[numbers] = np.array([frame.extent for frame in frames]) - 1.0
            self._limit[numbers] = [
                (frame.width, frame.height) if self._clips(frame) else (np.inf, np.inf) for frame in frames
            ]

    def _clips(self, frame: Frame) -> bool:
        """Whether predictions are clipped to the image: they may lie in the padding. Published systems leave them."""
        return self._placing == HALF_PIXEL and RESIZINGS[frame.mode].padding != "none"

    def to_input(self, points: Floats, image: Ints) -> Floats:
        """Map points (..., N, 2), each in the original frame of its image (N,), to pixels of the input."""
        centre, edge = self._placing.centre, self._placing.edge
        moved: Floats = (points + centre) * self._scale[image] - centre + self._offset[image]
        return moved if edge is None else np.clip(moved, edge, self._last[image] - edge)

    def inverse(self, points: Floats, image: Ints) -> Floats:
        """Inverse of `to_input`, wherever it lies."""
        centre = self._placing.centre
        moved: Floats = (points - self._offset[image] + centre) / self._scale[image] - centre
        return moved

    def to_original(self, points: Floats, image: Ints) -> Floats:
        """Inverse of `to_input`; with padding, clipped to the image."""
        original = self.inverse(points, image)
        limit = self._limit[image] - 0.5
        # Without padding every position is one of the image's own, a little beyond its edge included.
        clipped: Floats = np.clip(original, np.where(np.isinf(limit), -np.inf, -0.5), limit)
        return clipped


def correspondences(dataset: PairDataset) -> Correspondences:
    """Flatten a split, without a Python object per pair or keypoint."""
    table = dataset.table.with_format("arrow")[:]
    code, names = _numbered(
        pa.concat_arrays([_keys(table, "source_image"), _keys(table, "target_image")]).dictionary_encode()
    )
    source, target = np.split(code, 2)
    first = np.unique(code, return_index=True)[1]
    sizes = pa.concat_arrays([_list(table, "source_size"), _list(table, "target_size")])
    keypoints = _list(table, "keypoint_ids")
    identity, identities = _numbered(keypoints.flatten().dictionary_encode())
    return Correspondences(
        images=[name.split(_BETWEEN)[1] for name in names],
        categories=[name.split(_BETWEEN)[0] for name in names],
        sizes=[size or [] for size in sizes.take(pa.array(first)).to_pylist()],
        source=source,
        target=target,
        reference_length=table.column("reference_length").to_numpy(),
        pair=np.repeat(np.arange(len(table), dtype=np.int32), np.diff(keypoints.offsets.to_numpy())),
        source_points=_points(table, "source_keypoints"),
        target_points=_points(table, "target_keypoints"),
        keypoint=identity.astype(np.int32),
        keypoint_names=identities,
        pair_ids=pa.array(_list(table, "pair_id"), pa.string()),
        occluded=_occluded(table),
        factors={name: pa.concat_arrays([_list(table, name)]) for name in FACTORS},
        source_box=_boxes(table, "source_box"),
        target_box=_boxes(table, "target_box"),
    )


def _keys(table: pa.Table, side: str) -> pa.Array:
    """What tells the images of one column apart: category and path."""
    joined = pc.binary_join_element_wise(table.column("category"), table.column(side), _BETWEEN)
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _numbered(values: pa.DictionaryArray) -> tuple[Ints, list[str]]:
    """Number of each string in the sorted list of distinct ones, and that list."""
    names = values.dictionary.to_pylist()
    order = np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    return rank[values.indices.to_numpy()], [names[index] for index in order]


def _list(table: pa.Table, name: str) -> pa.ListArray:
    column = table.column(name).combine_chunks()
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _occluded(table: pa.Table) -> NDArray[np.bool_] | None:
    column = _list(table, "target_occluded")
    if column.null_count == len(column):
        return None
    if column.null_count:
        raise PeftCorrError("A dataset must give target_occluded for every pair or for none.")
    flags: NDArray[np.bool_] = column.flatten().to_numpy(zero_copy_only=False)
    return flags


def _boxes(table: pa.Table, name: str) -> Floats:
    column = _list(table, name)
    boxes = np.full((len(column), 4), np.nan)
    boxes[pc.list_value_length(column).fill_null(0).to_numpy() == 4] = (
        column.flatten().to_numpy(zero_copy_only=False).reshape(-1, 4)
    )
    return boxes


def _points(table: pa.Table, name: str) -> Floats:
    values: Floats = _list(table, name).flatten().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(-1, 2)

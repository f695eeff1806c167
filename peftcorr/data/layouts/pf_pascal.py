"""PF-Pascal (Ham et al., 2017, "Proposal Flow: Semantic Correspondences from Object Proposals", arXiv:1703.07144).

PF-dataset-PASCAL/JPEGImages/<name>.jpg
PF-dataset-PASCAL/Annotations/<class>/<name>.mat          kps (K, 2) with NaN where there is none, bbox (1, 4)
image_pairs/<trn|val|test>_pairs.csv                      the lists published with NCNet (Rocco et al., 2018)
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from peftcorr.data.arrow import Row, cached_table, scan, stamp, told
from peftcorr.data.base import DatasetSource, PairDataset, Progress, given_folder
from peftcorr.data.decode import read_header
from peftcorr.data.exif import STORED
from peftcorr.data.image_files import ImageFiles
from peftcorr.data.layouts.fields import LARGEST
from peftcorr.data.layouts.mat_file import read_numbers, shape_of
from peftcorr.data.layouts.pf_pascal_list import COORDINATES, ListedPair, find_list, read_list
from peftcorr.data.splits import SPLITS, words
from peftcorr.errors import PeftCorrError
from peftcorr.files.reading import read_bytes

_LOADER = "pf-pascal-1"  # raise it when the reader gives other values for the same files
_ARCHIVE_FOLDER = "PF-dataset-PASCAL"
FRAME = 300  # longest side, in pixels, of the images whose coordinates lists and annotation give
_MARGIN = 0.1 * FRAME  # how far outside a point may lie before the coordinates must be another frame's

_LEAST_SIDE = 1e-6  # of a box in pixels; a smaller one may come to nothing when it is moved

Floats = NDArray[np.float64]


class PfPascal(DatasetSource):
    """PF-Pascal (Ham et al., 2017), the published pairs.

    The data root holds ``PF-dataset-PASCAL`` and the lists.

    Coordinates are of images whose longest side is 300 px. Where a photograph on disk has that size they are taken
    as they are; where it is VOC's original, of another longest side L, they are moved to its pixels by the
    protocol's rule for resizing, x' = (x + 0.5) L / 300 - 0.5, so that a point keeps its place in the picture and a
    prediction scores the same with either file. One factor serves both axes, since how the short side was rounded
    is not published (it moves no point by more than a pixel).

    A list with the columns XA, YA, XB and YB gives the keypoints that the two photographs share. They are numbered
    pair by pair there, so ``keypoint_ids`` name no landmark. Other lists (the published trn, and val in some
    publications), and always trn, whose training joins pairs by landmark, take them from the annotation.

    The published trn list has 2,940 rows with a column ``flip``: pairs, many of them several times, some of them
    with both photographs mirrored. Each pair is taken once, as photographed; mirroring is no other pair.
    """

    class Config(DatasetSource.Config):
        """Options of PF-Pascal."""

        threshold: Literal["image", "box"] = Field(
            default="image", description="whose longer side the thresholds are shares of, in the target"
        )

    config: Config

    def __init__(self, config: BaseModel, root: Path | None, cache: Path, progress: Progress | None = None):
        super().__init__(config, root, cache, progress)
        if root is not None and root.name == _ARCHIVE_FOLDER:  # it may be given itself
            root = root.parent
        self._root = given_folder(root, "pf_pascal", (f"{_ARCHIVE_FOLDER}/JPEGImages",))
        self._folder = self._root / _ARCHIVE_FOLDER
        self._by_box = self.config.threshold == "box"

    @property
    def name(self) -> str:
        """``pf_pascal``, or ``pf_pascal-box``: the two thresholds give numbers that cannot be compared."""
        return "pf_pascal-box" if self._by_box else "pf_pascal"

    def splits(self) -> list[str]:
        """Splits that have a list."""
        return [split for split in SPLITS if find_list(self._root, split) is not None]

    def looked_for(self) -> str:
        """The published lists."""
        return f"Lists are {self._root / 'image_pairs'}/<split>_pairs.csv ({words()})."

    def names_landmarks(self, split: str) -> bool:
        """Not where the list gives coordinates, which are numbered pair by pair."""
        path = find_list(self._root, split)
        return path is None or not _gives_keypoints(split, read_list(path))

    def load(self, split: str) -> PairDataset:
        """Read a split; s is the longer side of the target's image, or of its annotated box.

        Raises:
            PeftCorrError: if a file is missing or malformed, naming the file and the field.
        """
        path = find_list(self._root, split)
        if path is None:
            raise PeftCorrError(
                f"{self._root} has no list {split}_pairs.csv: put the published one into {self._root / 'image_pairs'}."
            )
        annotations = self._folder / "Annotations"
        classes = [Path(e.path) for e in scan(annotations) if e.is_dir()] if annotations.is_dir() else []
        listed = f"{path.relative_to(self._root)}\0".encode() + read_bytes(path)
        table = cached_table(
            self,
            self._root,
            split,
            stamp(_LOADER, listed, [self._folder / "JPEGImages", *sorted(classes)]),
            lambda: _Reader(self._folder, path, split, self._by_box).rows(self.progress),
        )
        return PairDataset(self.name, split, self._folder / "JPEGImages", table)


class _Reader:
    """Makes the pairs of one list."""

    def __init__(self, folder: Path, path: Path, split: str, by_box: bool):
        self.path = path
        self.listed = read_list(path)
        self.files = ImageFiles(folder / "JPEGImages")
        self.annotations = folder / "Annotations"
        self.from_list = _gives_keypoints(split, self.listed)
        self.by_box = by_box
        self._header, self._numbers = cache(read_header), cache(read_numbers)

    def rows(self, progress: Progress | None) -> Iterator[Row]:
        """Yield the pairs; of a list with ``flip`` each once."""
        first: dict[object, tuple[int, ListedPair]] = {}
        for line, pair in self.listed:
            names = pair.number, pair.source_image, pair.target_image
            first.setdefault(line if pair.flip is None else names, (line, pair))
        for index, (line, pair) in enumerate(told(list(first.values()), progress)):
            yield self._row(index, f"{self.path}, line {line}", pair)

    def _row(self, index: int, where: str, pair: ListedPair) -> Row:
        images = pair.source_image, pair.target_image
        for column, name in zip(("source_image", "target_image"), images, strict=True):
            if problem := self.files.missing(name):
                raise PeftCorrError(f"{where}: {column} {problem}")
        headers = [self._header(self.files.root / name) for name in images]
        sizes = [header.size for header in headers]
        mats = [self.annotations / pair.category / f"{Path(name).stem}.mat" for name in images]
        if self.from_list:
            listed = [np.array(getattr(pair, name), dtype=np.float64) for name in COORDINATES]
            points = [np.stack(listed[:2], axis=1), np.stack(listed[2:], axis=1)]
            places = [f"{where}: XA, YA", f"{where}: XB, YB"]
            ids = [str(number) for number in range(len(points[0]))]
        else:
            points, ids = self._annotated(where, mats)
            places = [f"{mat}: kps" for mat in mats]
        for place, header, found in zip(places, headers, points, strict=True):
            # Of a photograph that is stored turned the keypoints may tell the frame: see `exif`.
            side = max(header.size)
            _require_inside(place, header.size if header.orientation == STORED else (side, side), found)
        boxes = [self._box(where, mat) for mat in mats] if self.by_box else [np.empty(0), np.empty(0)]
        source, target = map(to_image, points, sizes)
        source_box, box = map(to_image, boxes, sizes)
        length = max(box[2] - box[0], box[3] - box[1]) if self.by_box else max(sizes[1])
        return {
            "pair_id": f"{index:04d}-{Path(images[0]).stem}-{Path(images[1]).stem}:{pair.category}",
            "category": pair.category,
            "source_image": images[0],
            "target_image": images[1],
            "source_size": sizes[0],
            "target_size": sizes[1],
            "source_keypoints": source.tolist(),
            "target_keypoints": target.tolist(),
            "keypoint_ids": ids,
            "source_box": source_box.tolist(),
            "target_box": box.tolist(),
            "reference_length": float(length),
        }

    def _annotated(self, where: str, mats: list[Path]) -> tuple[list[Floats], list[str]]:
        """Keypoints that both photographs have, and the number of each among the class's landmarks."""
        source, target = (self._array(where, mat, "kps") for mat in mats)
        for mat, found in zip(mats, (source, target), strict=True):
            if found.ndim != 2 or found.shape[1] != 2:
                raise PeftCorrError(
                    f"{mat}: kps is {shape_of(found)}; it must be K x 2, a column of x and one of y."
                )
        if len(source) != len(target):
            raise PeftCorrError(
                f"{mats[1]}: kps has {len(target)} keypoints where {mats[0]} of its class has {len(source)}; "
                "keypoint k must be the same landmark in both."
            )
        shared = np.flatnonzero(~np.isnan(source).any(axis=1) & ~np.isnan(target).any(axis=1))
        if not len(shared):
            raise PeftCorrError(f"{where}: {mats[0]} and {mats[1]} share no keypoint in kps.")
        return [source[shared], target[shared]], [str(number) for number in shared]

    def _box(self, where: str, mat: Path) -> Floats:
        """x1, y1, x2, y2 in the frame of 300 px."""
        box = self._array(where, mat, "bbox")
        if box.size != 4:
            raise PeftCorrError(f"{mat}: bbox is {shape_of(box)}; it must be x1, y1, x2, y2.")
        x1, y1, x2, y2 = box = box.reshape(4)
        if not ((np.abs(box) <= LARGEST).all() and min(x2 - x1, y2 - y1) > _LEAST_SIDE):
            raise PeftCorrError(
                f"{mat}: bbox is {box.tolist()}; it must be finite x1, y1, x2, y2 with x2 > x1 and y2 > y1."
            )
        return box

    def _array(self, where: str, mat: Path, variable: str) -> Floats:
        if not self.annotations.is_dir():
            purpose = "boxes (threshold: box)" if variable == "bbox" else f"keypoints of {self.path.name}"
            raise PeftCorrError(
                f"The {purpose} are in the annotation, but there is no folder {self.annotations}: "
                "unpack PF-dataset-PASCAL.zip there."
            )
        if not mat.is_file():
            raise PeftCorrError(f"{where}: there is no annotation {mat}.")
        return self._numbers(mat, variable)


def _gives_keypoints(split: str, listed: list[tuple[int, ListedPair]]) -> bool:
    """Whether the keypoints of a split are those of its list, and not the annotation's."""
    return listed[0][1].XA is not None and split != "trn"


def to_image(coordinates: Floats, size: tuple[int, int]) -> Floats:
    """Move x or y of the frame whose longest side is 300 px to the pixels of an image of `size` (W, H)."""
    if max(size) == FRAME:
        return coordinates
    moved: Floats = (coordinates + 0.5) * (max(size) / FRAME) - 0.5
    return moved


def _require_inside(where: str, size: tuple[int, int], points: Floats) -> None:
    """Refuse points far outside the 300 px frame: such coordinates would be moved to a wrong place in silence."""
    frame = np.array(size, dtype=np.float64) * (FRAME / max(size))
    outside = ~((points >= -_MARGIN) & (points <= frame + _MARGIN)).all(axis=1)  # NaN is outside too
    if outside.any():
        x, y = points[np.flatnonzero(outside)[0]]
        raise PeftCorrError(
            f"{where} has ({x:g}, {y:g}), which lies outside the photograph at {FRAME} px on its longest side "
            f"({frame[0]:.0f} x {frame[1]:.0f}), the frame that published coordinates have."
        )

"""PF-Willow (Ham et al., 2016, "Proposal Flow"): ten classes of ten photographs with ten keypoints each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from peftcorr.data.arrow import Row, cached_table, scan, stamp, told
from peftcorr.data.base import DatasetSource, PairDataset, Progress, given_folder
from peftcorr.data.layouts.fields import LARGEST
from peftcorr.data.layouts.mat_file import read_numbers, shape_of
from peftcorr.errors import PeftCorrError

_LOADER = "pf-willow-1"  # raise it when the reader gives other values for the same files
_ARCHIVE_FOLDERS = ("PF-dataset", "PF-dataset-WILLOW")  # at the top of the published archive, and renamed
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


class _Photograph(NamedTuple):
    """One image with its keypoints (K, 2): x, y in pixels."""

    image: str
    points: NDArray[np.float64]


class PfWillow(DatasetSource):
    """PF-Willow (Ham et al., 2016), all 900 pairs.

    They are all ordered pairs of different images inside a class, read from the authors' folders. The data root is
    ``PF-dataset`` (``PF-dataset-WILLOW``) or the folder it was unpacked in. The category is the class folder's name,
    ``car(G)`` for example.
    """

    name = "pf_willow"

    def __init__(self, config: BaseModel, root: Path | None, cache: Path, progress: Progress | None = None):
        super().__init__(config, root, cache, progress)
        folder = given_folder(root, "pf_willow")
        inner = (folder / name for name in _ARCHIVE_FOLDERS)
        self._folder = next((path for path in inner if path.is_dir()), folder)

    def splits(self) -> list[str]:
        """``test`` alone: PF-Willow has nothing to train or to select on."""
        return ["test"]

    def keypoints_at(self, split: str, side: str, pair: str, image: str) -> str:
        """The ``.mat`` file beside the image."""
        return f"{(self._folder / image).with_suffix('.mat')}: pts_coord"

    def load(self, split: str) -> PairDataset:
        """Read the pairs; s is the longer side of the box round the target's keypoints.

        Raises:
            PeftCorrError: if the split is not ``test``, or a file is missing or malformed.
        """
        self.require_split(split)
        classes = sorted(
            Path(entry.path)
            for entry in scan(self._folder)
            if entry.is_dir() and not entry.name.startswith((".", "__"))  # __MACOSX of an unpacked archive
        )
        found = stamp(_LOADER, b"", classes)
        table = cached_table(self, self._folder, split, found, lambda: self._rows(classes))
        return PairDataset(self.name, split, self._folder, table)

    def _rows(self, classes: list[Path]) -> Iterator[Row]:
        pairs = 0
        for folder in told(classes, self.progress):
            for source, target in permutations(_read_class(folder), 2):
                pairs += 1
                yield _row(folder.name, source, target)
        if not pairs:
            raise PeftCorrError(
                f"{self._folder} has no class with two images; PF-Willow has <class>/<name>.png and .mat."
            )


def _read_class(folder: Path) -> list[_Photograph]:
    """Photographs of a class, in the order of their names."""
    names = {entry.name for entry in scan(folder)}
    stems = sorted(n[: -len(".mat")] for n in names if n.endswith(".mat") and not n.startswith("."))
    photographs = []
    for stem in stems:
        path = folder / f"{stem}.mat"
        images = [stem + suffix for suffix in _IMAGE_SUFFIXES if stem + suffix in names]
        if len(images) != 1:
            raise PeftCorrError(
                f"{path}: {'no image' if not images else 'more than one image'} of that name beside it "
                f"({', '.join(stem + suffix for suffix in _IMAGE_SUFFIXES)})."
            )
        photographs.append(_Photograph(f"{folder.name}/{images[0]}", read_points(path)))
        if len(photographs[0].points) != len(photographs[-1].points):
            raise PeftCorrError(
                f"{path}: pts_coord has {len(photographs[-1].points)} keypoints where {stems[0]}.mat of its "
                f"class has {len(photographs[0].points)}; keypoint k must be the same landmark in both."
            )
    return photographs


def read_points(path: Path) -> NDArray[np.float64]:
    """Keypoints of one ``.mat`` file: (K, 2), x and y in pixels of its image.

    The values are taken as they are, without MATLAB's offset of 1. The clicks lie on a regular lattice
    whose pitch differs from image to image while every longest side is 300: they were made on larger
    originals and multiplied by 300 / (longest side) with the image. What the offset has become (between
    0.5 and 1 pixel) needs the originals' sizes, which are not published, and it is the same in both
    images of a pair to a fraction of a pixel; published figures use the values as they are too.

    Raises:
        PeftCorrError: if the file is no MATLAB file or ``pts_coord`` is not a finite 2 x K array.
    """
    values = read_numbers(path, "pts_coord")
    if values.ndim != 2 or values.shape[0] != 2 or values.shape[1] == 0:
        raise PeftCorrError(
            f"{path}: pts_coord is {shape_of(values)}; it must be 2 x K, a row of x and a row of y."
        )
    points = np.ascontiguousarray(values.T)
    if not (np.abs(points) <= LARGEST).all():  # NaN fails the comparison too
        raise PeftCorrError(
            f"{path}: pts_coord holds a value that is no pixel position (NaN, infinite or huge)."
        )
    if not np.ptp(points, axis=0).max() > 0:
        raise PeftCorrError(
            f"{path}: all keypoints of pts_coord coincide, so the box round them has no size."
        )
    return points


def _row(category: str, source: _Photograph, target: _Photograph) -> Row:
    return {
        "pair_id": f"{source.image}:{Path(target.image).name}",
        "category": category,
        "source_image": source.image,
        "target_image": target.image,
        "source_size": [],
        "target_size": [],
        "source_keypoints": source.points.tolist(),
        "target_keypoints": target.points.tolist(),
        "keypoint_ids": [str(number) for number in range(len(source.points))],
        "source_box": [],
        "target_box": [],
        "reference_length": float(np.ptp(target.points, axis=0).max()),
    }

"""What is done to every split that any dataset's `load` gives, a plugin's too."""

from __future__ import annotations

import os
from pathlib import Path

from peftcorr.data.decode import read_header
from peftcorr.data.exif import Header
from peftcorr.data.keypoint_frame import Place, inside, oriented
from peftcorr.data.pair_dataset import Exif, PairDataset
from peftcorr.data.per_file import image_names, per_file
from peftcorr.errors import PeftCorrError


def in_its_frame(dataset: PairDataset, exif: Exif, stray: float, cache: Path, place: Place) -> PairDataset:
    """The split with its images in the frame that they were annotated in, and its keypoints inside them.

    Args:
        dataset: as its loader gives it.
        exif: the option of the dataset.
        stray: share of the keypoints that may lie outside of their images.
        cache: folder that all caches live in.
        place: file and field of some keypoints, as `DatasetSource.keypoints_at` tells it.

    Raises:
        PeftCorrError: if nothing tells that frame, or keypoints lie outside of it.
    """
    found = headers(dataset, cache)
    return inside(oriented(dataset, exif, found), found, stray, place)


def headers(dataset: PairDataset, cache: Path) -> dict[str, Header]:
    """Header of each image of a split by its path; without those that cannot be read, which decoding will refuse."""
    folder = str(dataset.image_root)
    names = [name for name in image_names(dataset) if os.path.isfile(os.path.join(folder, name))]
    found = per_file(dataset.image_root, names, cache, "headers", _header)
    return {
        name: Header((value[0], value[1]), value[2]) for name, value in found.items() if value is not None
    }


def _header(path: Path) -> list[int] | None:
    try:
        found = read_header(path)
    except PeftCorrError:
        return None
    return [*found.size, found.orientation]

"""The geometry-aware subset: keypoints that another keypoint of the same object looks like.

Zhang et al., "Telling Left from Right: Identifying Geometry-Aware Semantic Correspondence", CVPR 2024. The groups are
data, by the annotation's own numbers, from its code (`utils/utils_geoware.py`). Eyes and nostrils are no groups there.
Its loop for the per-keypoint figure counts the groups in the order in which they are written, which moves those of five
categories onto other keypoints; here the numbers mean what the table says in both figures.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from peftcorr.metrics.rows import coded

Flags = NDArray[np.bool_]
Groups = tuple[tuple[int, ...], ...]


def _couples(first: int, end: int) -> Groups:
    """first with the next one, and so on, up to `end`."""
    return tuple((number, number + 1) for number in range(first, end, 2))


_WHEELS: Groups = (
    *((10 + k, 13 + k, 20 + k, 23 + k) for k in range(3)),
    *((16, 17, 26, 27), (18, 19, 28, 29)),
)
_LEGS: Groups = ((9, 10, 11, 12), (15, 16, 17, 18))
_SPAIR71K: dict[str, Groups] = {
    "aeroplane": _couples(4, 22),
    "bicycle": ((2, 3), (6, 7), (9, 10)),
    "bird": ((1, 2), (10, 11), (12, 13), (14, 15)),
    "boat": _couples(1, 13),
    "bottle": _couples(0, 10),
    "bus": ((0, 1), (2, 3, 5, 6), (4, 7), *_WHEELS),
    "car": ((0, 1), (2, 3, 6, 7), (4, 8), (5, 9), *_WHEELS),
    "cat": ((2, 3), _LEGS[0]),
    "chair": ((0, 1), (2, 3), (4, 5, 6, 7), (8, 9), (10, 11), (12, 13)),
    "cow": ((2, 3), *_LEGS, (19, 20)),
    "dog": ((2, 3), _LEGS[0]),
    "horse": ((2, 3), (10, 11, 12, 13), (16, 17, 18, 19)),
    "motorbike": ((0, 1), (2, 3)),
    "person": _couples(8, 20),
    "pottedplant": ((0, 1, 2, 3), (4, 5), (6, 8)),
    "sheep": ((2, 3), *_LEGS, (19, 20)),
    "train": _couples(0, 18),
    "tvmonitor": ((0, 2, 4, 6), (1, 3, 5, 7), (8, 10, 12, 14), (9, 11, 13, 15)),
}
_AP10K: Groups = ((5, 8), (6, 9, 12, 15), (7, 10, 13, 16), (11, 14))
# Of AP-10K's annotation, in its order: a loader gives names where the file has them.
_AP10K_NAMES = (
    "left_eye", "right_eye", "nose", "neck", "root_of_tail", "left_shoulder", "left_elbow", "left_front_paw",
    "right_shoulder", "right_elbow", "right_front_paw", "left_hip", "left_knee", "left_back_paw", "right_hip",
    "right_knee", "right_back_paw",
)  # fmt: skip


def groups_of(dataset: str, category: str) -> list[frozenset[str]]:
    """The groups of alike keypoints, by the keypoints' names in the predictions; none where they are not known.

    Args:
        dataset: its name in records.
        category: of the object.
    """
    if dataset in ("spair71k", "spair71k-small"):
        return [frozenset(map(str, group)) for group in _SPAIR71K.get(category, ())]
    if dataset.partition("-")[0] == "ap10k":
        return [frozenset(_AP10K_NAMES[number] for number in group) for group in _AP10K]
    return []


def geometry_aware(dataset: str, rows: pa.Table) -> Flags:
    """Which keypoints belong to the subset, (N,).

    One does when its group has at least two keypoints that are visible in the target, whatever the source shows. What
    is visible in an image is what any pair of the split has of it, on either side.

    Args:
        dataset: its name in records.
        rows: predictions of one predictor on one split, N keypoints.
    """
    categories, category = coded(rows, "category")
    names, keypoint = coded(rows, "keypoint_id")
    group = np.full((len(categories), len(names)), -1, dtype=np.int64)
    number = {str(name): index for index, name in enumerate(names)}
    for index, label in enumerate(categories):
        for place, members in enumerate(groups_of(dataset, str(label))):
            group[index, [number[name] for name in members if name in number]] = place
    if group.max(initial=-1) < 0:
        return np.zeros(len(rows), dtype=bool)
    paths, path = coded(rows, "source_image", "target_image")
    source, target = np.split(path, 2)
    own = group[category, keypoint]
    both = np.concatenate([category * len(paths) + source, category * len(paths) + target])
    seen = np.unique(both * len(names) + np.tile(keypoint, 2))  # each keypoint of an image once
    image, shown = np.divmod(seen, len(names))
    of_group = group[image // len(paths), shown]
    width = int(group.max()) + 1
    kinds, count = np.unique((image * width + of_group)[of_group >= 0], return_counts=True)
    wanted = (category * len(paths) + target) * width + own
    at = np.minimum(np.searchsorted(kinds, wanted), len(kinds) - 1)
    found: Flags = (own >= 0) & (kinds[at] == wanted) & (count[at] >= 2)
    return found

"""Which keypoint is the mirror image of which: left and right of the same part."""

from __future__ import annotations

import re
from collections.abc import Iterable

Pairs = tuple[tuple[int, int], ...]

# Numbers of SPair-71k's published keypoints that change places when a photograph is mirrored. The annotation names no
# landmark; these are the pairs of GeoAware-SC (Zhang et al., "Telling Left from Right: Identifying Geometry-Aware
# Semantic Correspondence", CVPR 2024; its code, utils/utils_geoware.py, the list in the annotation's own numbers,
# where a bus has no 8 and 9). GANgealing (Peebles et al., CVPR 2022) gives the same, numbering a bus without the gap.
_ANIMAL: Pairs = ((0, 1), (2, 3), (4, 5), (6, 7))  # base and tip of the ears, eyes, nostrils
_VEHICLE: Pairs = (
    *((0, 1), (2, 3), (16, 17), (18, 19), (26, 27), (28, 29)),  # mirrors, lights, windows
    *((10 + k, 20 + k) for k in range(6)),  # wheels and fenders of the two sides
)
_SPAIR71K: dict[str, Pairs] = {
    "aeroplane": tuple((k, k + 1) for k in range(4, 22, 2)),
    "bicycle": ((2, 3), (6, 7), (9, 10)),
    "bird": ((1, 2), (4, 5), (7, 8), (10, 11), (12, 13), (14, 15)),
    "boat": tuple((k, k + 1) for k in range(1, 13, 2)),
    "bottle": tuple((k, k + 1) for k in range(0, 10, 2)),
    "bus": (*_VEHICLE, (5, 6)),
    "car": (*_VEHICLE, (6, 7)),
    "cat": (*_ANIMAL, (9, 10), (11, 12)),
    "chair": tuple((k, k + 1) for k in range(0, 14, 2)),
    "cow": (*_ANIMAL, (9, 10), (11, 12), (15, 16), (17, 18), (19, 20)),
    "dog": (*_ANIMAL[:3], (9, 10), (11, 12)),
    "horse": (*_ANIMAL, (10, 11), (12, 13), (16, 17), (18, 19)),
    "motorbike": ((0, 1), (2, 3)),
    "person": ((0, 1), (2, 3), *((k, k + 1) for k in range(8, 20, 2))),
    "pottedplant": ((0, 2), (4, 5), (6, 8)),
    "sheep": (*_ANIMAL, (9, 10), (11, 12), (15, 16), (17, 18), (19, 20)),
    "train": tuple((k, k + 1) for k in range(0, 18, 2)),
    "tvmonitor": ((0, 2), (3, 7), (4, 6), (8, 10), (11, 15), (12, 14)),
}

# The twenty keypoints of Animal-Pose (Cao et al., "Cross-Domain Adaptation for Animal Pose Estimation", ICCV 2019) in
# the order of its annotation: left and right eye, nose, left and right ear; elbows, knees and paws, each left front,
# right front, left back, right back; throat, withers, tail.
_ANIMAL_POSE: Pairs = ((0, 1), (3, 4), *((k, k + 1) for k in range(5, 17, 2)))

_SIDES = {"left": "right", "right": "left", "l": "r", "r": "l"}


def mirrors(dataset: str, category: str, keypoints: Iterable[str]) -> dict[str, str]:
    """Return the mirror image of every keypoint that has one.

    Names that differ in ``left`` and ``right`` (or ``L`` and ``R``) alone, as words, mirror each other in any dataset.
    Numbers do where it is known what they stand for: SPair-71k (`spair71k`, `spair71k-small`), `animal-pairs` and the
    embedded benchmark (`synthetic`, and with other settings).

    Args:
        dataset: its name in records.
        category: category of the keypoints.
        keypoints: identity of each, as the dataset gives it.
    """
    keypoints = list(keypoints)
    known = _known(dataset, category)
    if known:
        both = {str(a): str(b) for a, b in known} | {str(b): str(a) for a, b in known}
        return {name: both[name] for name in keypoints if both.get(name) in keypoints}
    words = _words(dataset, category, keypoints)
    names = {spelling: name for name, spelling in words.items()}
    found = {}
    for name, spelling in words.items():
        mirrored = tuple(_SIDES.get(word, word) for word in spelling)
        if mirrored != spelling and mirrored in names:
            found[name] = names[mirrored]
    return found


def sided(dataset: str, category: str, keypoints: Iterable[str]) -> set[str]:
    """Return the keypoints that have a mirror image, among `keypoints` or not.

    Args:
        dataset, category, keypoints: as `mirrors` takes them.
    """
    known = _known(dataset, category)
    if known:
        return set(keypoints) & {str(number) for pair in known for number in pair}
    words = _words(dataset, category, keypoints)
    return {name for name, spelling in words.items() if _SIDES.keys() & set(spelling)}


def _words(dataset: str, category: str, keypoints: Iterable[str]) -> dict[str, tuple[str, ...]]:
    landmarks = _landmarks(dataset, category)
    return {name: tuple(re.split(r"[\W_]+", landmarks.get(name, name).lower())) for name in keypoints}


def _landmarks(dataset: str, category: str) -> dict[str, str]:
    """Name of each numbered keypoint of the embedded benchmark; nothing for other datasets."""
    if dataset.partition("-")[0] != "synthetic":
        return {}
    from peftcorr.data.synthetic.categories import CATEGORIES

    drawn = CATEGORIES.get(category)
    return {} if drawn is None else {str(number): name for number, name in enumerate(drawn.landmarks)}


def _known(dataset: str, category: str) -> Pairs:
    if dataset in ("spair71k", "spair71k-small"):
        return _SPAIR71K.get(category, ())
    return _ANIMAL_POSE if dataset in ("animal-pairs", "animal-pairs-small") else ()

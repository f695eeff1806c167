"""Which annotated images most likely have a mistake, told by where the others have their keypoints.

No rule knows right from wrong here: the order tells where to look first. An image comes early when a keypoint lies
outside of it, when two keypoints lie at one place, or when the keypoints of other images of its category, moved,
turned, scaled and mirrored onto its own, leave one of them much further off than that keypoint is elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peftcorr.data.base import PairDataset
from peftcorr.data.correspondences import Correspondences, correspondences
from peftcorr.data.decode import stored_size
from peftcorr.data.objects import objects
from peftcorr.errors import PeftCorrError

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]

_OTHERS = 24  # images that one is compared with, evenly spaced among those of its category
_FEWEST = 4  # keypoints that two images share: of 3, two that are exchanged fit a mirrored animal
_USUAL = 0.05  # of an object's extent: what counts as the usual distance at the least
_ROUNDS, _CLOSE = 4, 0.02  # of fitting; shares of the extent below which a distance weighs no more
_OUTSIDE, _TOGETHER, _UNREADABLE = 1e6, 1e3, 1e9  # come before any misfit
_EDGE = 3.0  # pixels beyond the edge that annotators go


@dataclass
class AnnotatedImage:
    """One object on an image with all its keypoints, and why it is suspected.

    Attributes:
        split, category, image: where it is from.
        size: annotated [W, H], with what `peftcorr.data.decode.decode` takes beside it; empty where there is none.
        names: its keypoints.
        points: x, y of each in original pixels, (K, 2).
        suspicion: the higher, the earlier it is to be looked at.
        why: in a few words; empty where nothing is odd.
        worst: number of the keypoint that is meant; None if it is none alone.
    """

    split: str
    category: str
    image: str
    size: list[int]
    names: list[str]
    points: Floats
    suspicion: float = 0.0
    why: str = ""
    worst: int | None = None

    def suspect(self, suspicion: float, why: str, worst: int | None = None) -> None:
        """Note a reason, unless a weightier one is known."""
        if suspicion > self.suspicion:
            self.suspicion, self.why, self.worst = suspicion, why, worst


def suspects(dataset: PairDataset) -> list[AnnotatedImage]:
    """All annotated images of a split, the most suspect first."""
    data = correspondences(dataset)
    found = _annotated(dataset.split, data)
    by_category: dict[str, list[AnnotatedImage]] = {}
    for one in found:
        by_category.setdefault(one.category, []).append(one)
    for members in by_category.values():
        _compare(members)
    for one in found:
        _look_inside(one, dataset)
    return sorted(found, key=lambda one: (-one.suspicion, one.category, one.image))


def _annotated(split: str, data: Correspondences) -> list[AnnotatedImage]:
    """Each object with the keypoints that any pair gives for it."""
    every = objects(data)
    starts = np.searchsorted(every.object, np.arange(len(every.image) + 1))
    found = []
    for number, image in enumerate(every.image.tolist()):
        here = slice(starts[number], starts[number + 1])
        names = [data.keypoint_names[k] for k in every.keypoint[here]]
        where = (data.categories[image], data.images[image], list(data.sizes[image]))
        found.append(AnnotatedImage(split, *where, names, every.points[here]))
    return found


def _look_inside(one: AnnotatedImage, dataset: PairDataset) -> None:
    """Suspect keypoints outside of the image, or at one place, and an image whose size cannot be read."""
    try:
        size = one.size or stored_size(dataset.image_root / one.image)
    except PeftCorrError:
        one.suspect(_UNREADABLE, "cannot be read")
        return
    beyond = np.maximum(-one.points, one.points - (np.array(size[:2]) - 1)).max(axis=1)
    if (outside := beyond > _EDGE).any():
        worst = int(np.argmax(beyond))
        one.suspect(
            _OUTSIDE + float(beyond[worst]), f"{int(outside.sum())} outside: {one.names[worst]}", worst
        )
    _, first, counts = np.unique(one.points, axis=0, return_index=True, return_counts=True)
    if (counts > 1).any():
        worst = int(first[np.argmax(counts)])
        one.suspect(_TOGETHER, f"{int(counts.max())} at one place: {one.names[worst]}", worst)


def _compare(members: Sequence[AnnotatedImage]) -> None:
    """Suspect the keypoints of a category's images that lie further off than those of the others."""
    names = sorted({name for one in members for name in one.names})
    column = {name: number for number, name in enumerate(names)}
    places = np.full((len(members), len(names)), np.nan, dtype=np.complex128)
    for row, one in enumerate(members):
        places[row, [column[name] for name in one.names]] = one.points[:, 0] + 1j * one.points[:, 1]
    misfits = np.stack([_misfit(places, row) for row in range(len(members))])
    known = ~np.isnan(misfits)
    usual = np.array(
        [np.median(misfits[known[:, k], k]) if known[:, k].any() else np.nan for k in range(len(names))]
    )
    ratio = misfits / np.maximum(usual, _USUAL)
    for row, one in enumerate(members):
        if known[row].any():
            worst = int(np.nanargmax(ratio[row]))
            times = float(ratio[row, worst])
            one.suspect(times, f"{names[worst]}: {times:.1f} times the usual", one.names.index(names[worst]))


def _misfit(places: Complex, row: int) -> Floats:
    """How far each keypoint of an image lies from where the others put it, in extents of the object: (names,)."""
    own = places[row]
    others = np.flatnonzero((~np.isnan(places) & ~np.isnan(own)).sum(axis=1) >= _FEWEST)
    others = others[others != row]
    others = others[np.arange(min(_OTHERS, len(others))) * len(others) // max(1, min(_OTHERS, len(others)))]
    far = np.full((len(others), places.shape[1]), np.nan)
    for index, other in enumerate(others.tolist()):
        shared = ~np.isnan(own) & ~np.isnan(places[other])
        far[index, shared] = _distances(places[other, shared], own[shared])
    known = ~np.isnan(far)
    return np.array(
        [np.median(far[known[:, k], k]) if known[:, k].any() else np.nan for k in range(far.shape[1])]
    )


def _distances(theirs: Complex, own: Complex) -> Floats:
    """Distances after the best similarity, mirrored or not, as shares of the own points' extent.

    The best leaves the smallest sum of distances, found by weighting squares anew: one keypoint that is wrong then
    does not draw the others away from where they belong.
    """
    extent = max(float(np.ptp(own.real)), float(np.ptp(own.imag))) or 1.0
    one, other = (_fitted(there, own, extent) for there in (theirs, theirs.conj()))
    return min(one, other, key=lambda far: float(far.sum())) / extent


def _fitted(theirs: Complex, own: Complex, extent: float) -> Floats:
    """Distances after the best similarity that mirrors nothing."""
    weight = np.ones(len(own))
    for _ in range(_ROUNDS):
        there, here = (points - np.average(points, weights=weight) for points in (theirs, own))
        spread = float((weight * abs(there) ** 2).sum())
        factor = (weight * there.conj() * here).sum() / spread if spread else 0.0
        far: Floats = abs(here - factor * there)
        weight = 1 / (far + _CLOSE * extent)
    return far

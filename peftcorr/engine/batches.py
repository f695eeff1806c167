"""Which images a training step encodes, and which correspondences among them it supervises.

A batch is a pure function of (seed, step): a resumed training draws what an unbroken one would, and any number of
processes draw the same one and share it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from peftcorr.data.correspondences import Correspondences, Floats, Ints
from peftcorr.data.objects import Objects, objects
from peftcorr.errors import RecipeFails

TRIES = 4  # draws that may find no two images with a keypoint in common


@dataclass(frozen=True)
class Batch:
    """B images and M correspondences among them.

    Attributes:
        images: image numbers (B,).
        query_slot, target_slot: position in `images` of each correspondence's source and target, (M,).
        query_points, truth: x, y in original pixels of the source and the target, (M, 2).
    """

    images: Ints
    query_slot: Ints
    target_slot: Ints
    query_points: Floats
    truth: Floats

    def pairs(self) -> int:
        """Number of distinct (source, target) pairs that are supervised."""
        return len(np.unique(self.query_slot * len(self.images) + self.target_slot))

    def share(self, process: int, processes: int) -> Share:
        """What one process does of the batch: every image and every correspondence belongs to one of them."""
        slots = np.arange(process, len(self.images), processes)
        return Share(slots, np.flatnonzero(self.target_slot % processes == process))


@dataclass(frozen=True)
class Share:
    """One process's part of a batch.

    Attributes:
        slots: positions in the batch's `images` of those that it encodes.
        rows: correspondences whose loss it takes: those whose targets it encodes.
    """

    slots: Ints
    rows: Ints


class Sampler(Protocol):
    """Draws batches."""

    def batch(self, step: int) -> Batch:
        """The batch of all processes at one step."""


class CliqueSampler:
    """B objects of one category, each on an image of its own or not, and all ordered pairs that share keypoints.

    A category is drawn in proportion to its pairs in the published list, and an object within it in proportion to
    the pairs it is in (without replacement), so that over an epoch categories and objects weigh what they weigh
    there. B forwards supervise up to B (B - 1) pairs; two objects of one image are not paired with each other.

    Whether a category has two images that share a keypoint is known before anything is drawn. Where few of its images
    do, a draw may miss them all: after `TRIES` of these, the first two objects are drawn among those that share one.

    Raises:
        RecipeFails: if no two images of a category share a keypoint.
    """

    def __init__(self, data: Correspondences, images: int, seed: int):
        self._count, self._seed = images, seed
        found = objects(data)
        category = np.array(data.categories)[found.image]
        names, pairs = np.unique(category[found.source], return_counts=True)
        uses = np.bincount(found.source, minlength=len(category)) + np.bincount(
            found.target, minlength=len(category)
        )
        self._groups = [_Group(found, np.flatnonzero(category == name), uses) for name in names]
        share = pairs / pairs.sum()
        able = np.array([group.able for group in self._groups], dtype=bool)
        if not able.any():
            raise RecipeFails(
                "No two images of a category share a keypoint, so that training.sampler=cliques has no pair to train "
                "on: name the keypoints alike in all images, or train with training.sampler=pairs."
            )
        # As it is where all are able: a sum of 1 that is computed anew may be another by one bit.
        self._share = share if able.all() else share * able / (share * able).sum()

    def batch(self, step: int) -> Batch:
        """See `Sampler.batch`; draws again, a few times, while no two of the images share a keypoint."""
        rng = np.random.default_rng([self._seed, step, 0])
        for _ in range(TRIES):
            group = self._groups[rng.choice(len(self._share), p=self._share)]
            batch = group.batch(group.drawn(self._count, rng))
            if len(batch.truth):
                return batch
        return group.batch(group.sharing(self._count, rng))


class _Group:
    """The objects of one category, and which of them may be paired.

    Everything is as large as what is annotated: a folder may have a name for every single keypoint.
    """

    def __init__(self, found: Objects, members: Ints, uses: Ints):
        self._members = members
        self._image = found.image[members]
        self._weights = uses[members] / uses[members].sum()
        place = np.full(len(found.image), -1)
        place[members] = np.arange(len(members))
        here = place[found.object] >= 0
        self._object, self._keypoint = place[found.object[here]], found.keypoint[here]
        self._points = found.points[here]
        self._first = np.searchsorted(self._object, np.arange(len(members) + 1))
        # Places in the order of their keypoints, and of those the ones whose keypoint another image has too.
        self._by_keypoint = np.lexsort((self._image[self._object], self._keypoint))
        ordered, image = self._keypoint[self._by_keypoint], self._image[self._object[self._by_keypoint]]
        self._ordered = ordered
        begin, end = (np.searchsorted(ordered, ordered, side) for side in ("left", "right"))
        self._shared = np.flatnonzero(image[begin] != image[end - 1]) if len(ordered) else ordered

    @property
    def able(self) -> bool:
        """Whether two of the images share a keypoint."""
        return len(self._shared) > 0

    def drawn(self, count: int, rng: np.random.Generator) -> Ints:
        """Some of the objects."""
        size = min(count, len(self._members))
        return rng.choice(len(self._members), size=size, replace=False, p=self._weights)

    def sharing(self, count: int, rng: np.random.Generator) -> Ints:
        """Two objects that share a keypoint, and others as `drawn` has them; the group is `able`."""
        one = rng.choice(self._shared)
        begin, end = (np.searchsorted(self._ordered, self._ordered[one], side) for side in ("left", "right"))
        run = self._object[self._by_keypoint[begin:end]]
        first = self._object[self._by_keypoint[one]]
        second = rng.choice(run[self._image[run] != self._image[first]])
        others = self.drawn(count, rng)
        others = others[(others != first) & (others != second)][: max(0, count - 2)]
        return np.concatenate(([first, second], others))

    def batch(self, chosen: Ints) -> Batch:
        """All correspondences among some objects."""
        parts = [np.arange(self._first[member], self._first[member + 1]) for member in chosen]
        slot = np.repeat(np.arange(len(chosen)), [len(part) for part in parts])
        rows = np.concatenate(parts)
        _, name, times = np.unique(self._keypoint[rows], return_inverse=True, return_counts=True)
        often = np.flatnonzero(times > 1)  # a keypoint that one object has is no column of the table below
        column = np.full(len(times), -1)
        column[often] = np.arange(len(often))
        kept = column[name] >= 0
        table = np.full((len(chosen), len(often)), -1)
        table[slot[kept], column[name][kept]] = rows[kept]
        seen = table >= 0
        shared = seen[:, None] & seen[None]
        image = self._image[chosen]
        shared &= (image[:, None] != image[None])[..., None]
        source, target, keypoint = np.nonzero(shared)
        _, first, number = np.unique(image, return_index=True, return_inverse=True)
        order = np.argsort(first)  # an image is encoded once, in the order of the draw
        where = np.argsort(order)[number]
        return Batch(
            image[np.sort(first)],
            where[source],
            where[target],
            self._points[table[source, keypoint]],
            self._points[table[target, keypoint]],
        )


class PairSampler:
    """Pairs of the published list in a new random order each epoch, as most published systems train.

    Raises:
        RecipeFails: if no pair has a keypoint.
    """

    def __init__(self, data: Correspondences, pairs: int, seed: int):
        self._data, self._count, self._seed = data, pairs, seed
        self._first = np.searchsorted(data.pair, np.arange(len(data.source) + 1))
        self._able = np.flatnonzero(np.diff(self._first))
        self._total = len(self._able)
        if not self._total:
            raise RecipeFails("No pair of the trn split has a keypoint: there is nothing to train on.")
        self._orders: dict[int, Ints] = {}

    def batch(self, step: int) -> Batch:
        """See `Sampler.batch`."""
        begin = step * self._count
        pairs = np.array([self._pair(position) for position in range(begin, begin + self._count)])
        rows = np.concatenate([np.arange(self._first[pair], self._first[pair + 1]) for pair in pairs])
        source, target = self._data.source[self._data.pair[rows]], self._data.target[self._data.pair[rows]]
        images = np.unique(np.concatenate((source, target)))
        return Batch(
            images,
            np.searchsorted(images, source),
            np.searchsorted(images, target),
            self._data.source_points[rows],
            self._data.target_points[rows],
        )

    def _pair(self, position: int) -> int:
        epoch, place = divmod(position, self._total)
        if epoch not in self._orders:
            order: NDArray[np.int64] = np.random.default_rng([self._seed, epoch]).permutation(self._total)
            self._orders = {epoch: order} | {e: o for e, o in self._orders.items() if e == epoch - 1}
        return int(self._able[self._orders[epoch][place]])

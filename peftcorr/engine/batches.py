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
    """B images of one category and all ordered pairs among them that share keypoints.

    A category is drawn in proportion to its pairs in the published list, and an image within it in proportion to
    the pairs it is in (without replacement), so that over an epoch categories and images weigh what they weigh
    there. B forwards supervise up to B (B - 1) pairs.
    """

    def __init__(self, data: Correspondences, images: int, seed: int):
        self._count, self._seed = images, seed
        category = np.array(data.categories)
        names, pairs = np.unique(category[data.source], return_counts=True)
        self._share = pairs / pairs.sum()
        self._members: list[Ints] = [np.flatnonzero(category == name) for name in names]
        uses = np.bincount(data.source, minlength=len(category)) + np.bincount(
            data.target, minlength=len(category)
        )
        self._weights = [uses[members] / uses[members].sum() for members in self._members]
        self._points = [_keypoint_table(data, members) for members in self._members]

    def batch(self, step: int) -> Batch:
        """See `Sampler.batch`; draws again while no two of the images share a keypoint."""
        rng = np.random.default_rng([self._seed, step, 0])
        while True:
            index = rng.choice(len(self._share), p=self._share)
            members = self._members[index]
            size = min(self._count, len(members))
            chosen = rng.choice(len(members), size=size, replace=False, p=self._weights[index])
            points = self._points[index][chosen]
            seen = ~np.isnan(points[..., 0])
            shared = seen[:, None] & seen[None]
            shared[np.arange(len(chosen)), np.arange(len(chosen))] = False
            source, target, keypoint = np.nonzero(shared)
            if len(source):
                return Batch(
                    members[chosen], source, target, points[source, keypoint], points[target, keypoint]
                )


def _keypoint_table(data: Correspondences, members: Ints) -> Floats:
    """Positions (len(members), ids, 2) of every keypoint that a category's pairs give for an image, NaN elsewhere."""
    row = np.full(len(data.images), -1)
    row[members] = np.arange(len(members))
    source, target = row[data.source[data.pair]], row[data.target[data.pair]]
    here = source >= 0
    _, identity = np.unique(data.keypoint[here], return_inverse=True)
    table = np.full((len(members), int(identity.max(initial=-1)) + 1, 2), np.nan)
    table[source[here], identity] = data.source_points[here]
    table[target[here], identity] = data.target_points[here]
    return table


class PairSampler:
    """Pairs of the published list in a new random order each epoch, as most published systems train."""

    def __init__(self, data: Correspondences, pairs: int, seed: int):
        self._data, self._count, self._seed = data, pairs, seed
        self._total = len(data.source)
        self._first = np.searchsorted(data.pair, np.arange(self._total + 1))
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
        return int(self._orders[epoch][place])

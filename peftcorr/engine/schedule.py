"""In which order images are encoded and matched, so that each is encoded once and few feature maps wait.

A target can be matched once all its sources are encoded, with all their keypoints in one product; until then its map
waits. The order keeps images that share pairs close together (reverse Cuthill-McKee on the graph of pairs), so that
maps wait briefly: two images for separate pairs, one category where every pair of it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import reverse_cuthill_mckee

from peftcorr.data.correspondences import Correspondences, Floats, Ints


@dataclass(frozen=True)
class Queries:
    """The distinct keypoints that are looked for, in the order in which their images are encoded.

    Attributes:
        image: image of each, (U,).
        points: x, y in its original frame, (U, 2).
        of: query of each correspondence, (N,).
        start: first query of each window, and one past the last, (windows + 1,).
        needless: how many leading queries no later window looks for, after each window, (windows,).
    """

    image: Ints
    points: Floats
    of: Ints
    start: Ints
    needless: Ints

    def most_at_once(self) -> int:
        """Queries that are kept at once, at most."""
        before = np.concatenate(([0], self.needless[:-1]))
        return int((self.start[1:] - before).max(initial=0))


@dataclass(frozen=True)
class Schedule:
    """What one process does in each window, a window being the images that all processes encode at once.

    Attributes:
        windows: the images of this process, by window.
        queries: keypoints of all processes.
        waits: whether an image's map is matched in a later window than it is encoded in, (I,).
        most_waiting: maps of this process that wait at once, at most.
        targets: images of this process to be matched after each window.
        rows: correspondences that this process matches, in that order.
        first_row: first of `rows` of each of its images as a target, (I,); the next `count` ones are its own.
        count: correspondences of each of its images as a target, (I,).
    """

    windows: list[Ints]
    queries: Queries
    waits: np.ndarray
    most_waiting: int
    targets: list[Ints]
    rows: Ints
    first_row: Ints
    count: Ints


def schedule(data: Correspondences, batch: int, process: int = 0, processes: int = 1) -> Schedule:
    """Plan the evaluation of a split.

    Args:
        data: the split.
        batch: images that a process encodes at once.
        process, processes: which of how many this is; every image is encoded by one of them.
    """
    order = _order(data)
    images = len(data.images)
    place = np.empty(images, dtype=np.int64)
    place[order] = np.arange(images)
    window = place // (batch * processes)
    windows = int(window.max(initial=-1)) + 1

    ripe = np.full(images, -1)  # window after which a target's last source is encoded
    np.maximum.at(ripe, data.target, np.maximum(window[data.source], window[data.target]))

    # Neighbours go to different processes, so that a last, short window is shared too.
    mine = order[process::processes]
    own = np.zeros(images, dtype=bool)
    own[mine] = True
    rows = np.flatnonzero(own[data.target[data.pair]])
    target = data.target[data.pair[rows]]
    in_turn = np.lexsort((place[target], ripe[target]))
    rows, target = rows[in_turn], target[in_turn]
    count = np.bincount(target, minlength=images)
    first_row = np.zeros(images, dtype=np.int64)
    first_row[target[::-1]] = np.arange(len(rows))[::-1]  # of several assignments the last one stays

    by_ripeness = mine[np.lexsort((place[mine], ripe[mine]))]
    by_ripeness = by_ripeness[count[by_ripeness] > 0]
    waits = ripe > window
    return Schedule(
        windows=_split(mine, window[mine], windows),
        queries=_queries(data, place, window, ripe, windows),
        waits=waits,
        most_waiting=_most_waiting(window[mine[waits[mine]]], ripe[mine[waits[mine]]], windows),
        targets=_split(by_ripeness, ripe[by_ripeness], windows),
        rows=rows,
        first_row=first_row,
        count=count,
    )


def _order(data: Correspondences) -> Ints:
    count = len(data.images)
    ones = np.ones(len(data.source))
    pairs = coo_array((ones, (data.source, data.target)), shape=(count, count)).tocsr()
    order: Ints = reverse_cuthill_mckee((pairs + pairs.T).tocsr(), symmetric_mode=True).astype(np.int64)
    return order[
        ::-1
    ]  # the band is as narrow backwards, and the split's own order is kept where nothing decides


def _queries(data: Correspondences, place: Ints, window: Ints, ripe: Ints, windows: int) -> Queries:
    source = data.source[data.pair]
    keys = (data.source_points[:, 1], data.source_points[:, 0], place[source])
    order = np.lexsort(keys)
    new = np.ones(len(order), dtype=bool)
    new[1:] = np.logical_or.reduce([key[order[1:]] != key[order[:-1]] for key in keys])
    of = np.empty(len(order), dtype=np.int64)
    of[order] = np.cumsum(new) - 1
    chosen = order[new]
    last = np.full(len(chosen), -1)
    np.maximum.at(last, of, ripe[data.target[data.pair]])
    return Queries(
        image=source[chosen],
        points=data.source_points[chosen],
        of=of,
        start=np.searchsorted(window[source[chosen]], np.arange(windows + 1)),
        needless=np.searchsorted(np.maximum.accumulate(last), np.arange(windows), side="right"),
    )


def _split(images: Ints, window: Ints, windows: int) -> list[Ints]:
    return np.split(images, np.searchsorted(window, np.arange(1, windows))) if windows else []


def _most_waiting(begin: Ints, end: Ints, windows: int) -> int:
    """Maps that wait at once: each from its own window until another one's products are done."""
    change = np.bincount(begin, minlength=windows + 1) - np.bincount(end + 1, minlength=windows + 2)[:-1]
    return int(np.cumsum(change).max(initial=0))

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

from peftcorr.data.correspondences import Codes, Correspondences, Floats, Ints

_CHUNK = 1 << 14  # correspondences looked at together: what a plan takes while it is made stays small
_MATCH_BYTES = 4 << 20  # similarity maps held at once: more would gain no speed


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
    of: Codes
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
    rows: Codes
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
    in_turn = np.lexsort((place, ripe))
    turn = np.empty(images, dtype=np.int32)
    turn[in_turn] = np.arange(images)
    rows = np.flatnonzero(own[data.target][data.pair]).astype(np.int32)
    rows = rows[np.argsort(turn[data.target][data.pair[rows]], kind="stable")]
    of_pair = np.bincount(data.pair, minlength=len(data.target))
    count = np.bincount(data.target, of_pair * own[data.target], minlength=images).astype(np.int64)
    first_row = np.zeros(images, dtype=np.int64)
    first_row[in_turn] = np.cumsum(count[in_turn]) - count[in_turn]

    by_ripeness = in_turn[count[in_turn] > 0]
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
    chosen, of = _distinct(data, place)
    source = data.source[data.pair[chosen]]
    last = np.full(len(chosen), -1)
    np.maximum.at(last, of, ripe.astype(np.int32)[data.target][data.pair])
    return Queries(
        image=source,
        points=data.source_points[chosen],
        of=of,
        start=np.searchsorted(window[source], np.arange(windows + 1)),
        needless=np.searchsorted(np.maximum.accumulate(last), np.arange(windows), side="right"),
    )


def _distinct(data: Correspondences, place: Ints) -> tuple[Ints, Codes]:
    """One correspondence of each query, in the order of `place`, and the query of every correspondence.

    Few are distinct: each chunk is thinned out first, then what all chunks have left.
    """

    def thinned(rows: Ints) -> tuple[Ints, Ints]:
        x, y = data.source_points[rows].T
        keys = (y, x, place[data.source[data.pair[rows]]])
        order = np.lexsort(keys)
        new = np.ones(len(order), dtype=bool)
        new[1:] = np.logical_or.reduce([key[order[1:]] != key[order[:-1]] for key in keys])
        number = np.empty(len(order), dtype=np.int64)
        number[order] = np.cumsum(new) - 1
        return rows[order[new]], number

    left: list[Ints] = [np.empty(0, dtype=np.int64)]
    of = np.empty(len(data), dtype=np.int32)
    before = 0
    for start in range(0, len(data), _CHUNK):
        chosen, number = thinned(np.arange(start, min(start + _CHUNK, len(data))))
        of[start : start + _CHUNK] = number + before
        left.append(chosen)
        before += len(chosen)
    chosen, number = thinned(np.concatenate(left))
    return chosen, number.astype(np.int32)[of]


def _split(images: Ints, window: Ints, windows: int) -> list[Ints]:
    return np.split(images, np.searchsorted(window, np.arange(1, windows))) if windows else []


def _most_waiting(begin: Ints, end: Ints, windows: int) -> int:
    """Maps that wait at once: each from its own window until another one's products are done."""
    change = np.bincount(begin, minlength=windows + 1) - np.bincount(end + 1, minlength=windows + 2)[:-1]
    return int(np.cumsum(change).max(initial=0))


@dataclass(frozen=True)
class Room:
    """How a budget of bytes is shared out.

    Attributes:
        budget: all of it.
        shape: h, w, C of a feature map.
        batch: images encoded at once.
        similarity: for similarity maps.
    """

    budget: int
    shape: tuple[int, int, int]
    batch: int
    similarity: int

    @classmethod
    def of(cls, budget: int, shape: tuple[int, int, int], batch: int) -> Room:
        """Give the window under way a quarter at most, and similarity maps another."""
        fits = budget // 4 // (4 * shape[0] * shape[1] * shape[2])
        return cls(budget, shape, max(1, min(batch, fits)), min(_MATCH_BYTES, budget // 4))

    def for_waiting(self, plan: Schedule) -> int:
        """What is left for the maps that wait."""
        height, width, channels = self.shape
        under_way = 4 * self.batch * channels * height * width
        queries = 2 * 4 * channels * plan.queries.most_at_once()  # twice: they move when some are dropped
        return max(0, self.budget - under_way - queries - self.similarity)

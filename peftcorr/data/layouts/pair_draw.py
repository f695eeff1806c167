"""Which images are paired where a dataset publishes no list: drawn from a seed, the same on every machine for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from peftcorr.data.layouts.instance import Instance

Pairs = NDArray[np.int64]  # (P, 2): numbers of source and target
T = TypeVar("T")


def stream(seed: int, *names: str) -> np.random.PCG64:
    """Bits for the draw that `names` stand for; other names give others, so that no group changes another's draw.

    Only the raw bits are used, which NumPy promises never to change (NEP 19), unlike what its generators make of them.
    """
    words = np.frombuffer(hashlib.sha256("\0".join(names).encode()).digest(), dtype="<u4")
    return np.random.PCG64(np.random.SeedSequence([seed, *(int(word) for word in words)]))


def sharing(first: Sequence[Instance], second: Sequence[Instance], shared: int, hidden: float = 1.0) -> Pairs:
    """All (i, j) such that first[i] and second[j] have at least `shared` keypoints of the same name, sorted.

    Args:
        first, second: annotated objects.
        shared: at least 1.
        hidden: what a keypoint counts for on each side where it is hidden; a shared one counts the product of both.
    """
    names = {name for instance in (*first, *second) for name in instance.keypoints}
    columns = {name: column for column, name in enumerate(names)}
    one, other = (_weights(group, columns, hidden) for group in (first, second))
    pairs: Pairs = np.argwhere((one @ other.T).toarray() >= shared)
    return pairs


def _weights(group: Sequence[Instance], columns: Mapping[str, int], hidden: float) -> csr_array:
    """What each keypoint of each object counts, sparse: a folder may have a name for every single point."""
    entries = [
        (row, columns[name], hidden if name in instance.hidden else 1.0)
        for row, instance in enumerate(group)
        for name in instance.keypoints
    ]
    rows, places, weights = np.array(entries, dtype=np.float64).reshape(-1, 3).T
    shape = (len(group), max(1, len(columns)))
    return csr_array((weights, (rows.astype(np.int64), places.astype(np.int64))), shape=shape)


def some(count: int, limit: int | None, bits: np.random.PCG64) -> NDArray[np.int64]:
    """Numbers of at most `limit` of `count` things, each choice as likely as any other, sorted (all when None)."""
    if limit is None or count <= limit:
        return np.arange(count)
    return np.sort(np.argsort(np.asarray(bits.random_raw(count)), kind="stable")[:limit])


def shuffled(things: Sequence[T], bits: np.random.PCG64) -> list[T]:
    """The things in another order, each order as likely as any other."""
    return [things[index] for index in np.argsort(np.asarray(bits.random_raw(len(things))), kind="stable")]

"""Which images are paired where a dataset publishes no list: drawn from a seed, the same on every machine for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from peftcorr.data.layouts.instance import Instance

Pairs = NDArray[np.int64]  # (P, 2): numbers of source and target
T = TypeVar("T")


def stream(seed: int, *names: str) -> np.random.PCG64:
    """Bits for the draw that `names` stand for; other names give others, so that no group changes another's draw.

    Only the raw bits are used, which NumPy promises never to change (NEP 19), unlike what its generators make of them.
    """
    words = np.frombuffer(hashlib.sha256("\0".join(names).encode()).digest(), dtype="<u4")
    return np.random.PCG64(np.random.SeedSequence([seed, *(int(word) for word in words)]))


def sharing(first: Sequence[Instance], second: Sequence[Instance], shared: int) -> Pairs:
    """All (i, j) such that first[i] and second[j] have at least `shared` keypoints of the same name, sorted."""
    names = {name for instance in (*first, *second) for name in instance.keypoints}
    one, other = (
        np.array([name in i.keypoints for i in group for name in names], dtype=np.float32)
        for group in (first, second)
    )
    columns = max(1, len(names))
    pairs: Pairs = np.argwhere(one.reshape(-1, columns) @ other.reshape(-1, columns).T >= shared)
    return pairs


def some(count: int, limit: int | None, bits: np.random.PCG64) -> NDArray[np.int64]:
    """Numbers of at most `limit` of `count` things, each choice as likely as any other, sorted (all when None)."""
    if limit is None or count <= limit:
        return np.arange(count)
    return np.sort(np.argsort(np.asarray(bits.random_raw(count)), kind="stable")[:limit])


def turned(pairs: Sequence[tuple[T, T]], bits: np.random.PCG64) -> list[tuple[T, T]]:
    """Each pair in its order or in the other one, by the toss of a coin."""
    coins = np.asarray(bits.random_raw(len(pairs))) >> np.uint64(63) if len(pairs) else ()
    return [(b, a) if coin else (a, b) for (a, b), coin in zip(pairs, coins, strict=True)]

"""The images of the next training step, loaded in a thread while the device makes this one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from torch import Tensor

from peftcorr.data.correspondences import Ints

Load = Callable[[Ints], Tensor]


class Ahead:
    """Loads images before they are asked for.

    Args:
        load: gives the images of some numbers.
    """

    def __init__(self, load: Load):
        self._load = load
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._coming: list[tuple[Ints, Future[Tensor]]] = []

    def expect(self, batches: Sequence[Ints]) -> None:
        """Begin to load what will be asked for next; what was expected before and not taken is forgotten."""
        self._coming = [(numbers, self._pool.submit(self._load, numbers)) for numbers in batches]

    def take(self, numbers: Ints) -> Tensor:
        """The images of some numbers, waiting for them where they were expected; loaded now where not."""
        for expected, images in self._coming:
            if np.array_equal(expected, numbers):
                return images.result()
        return self._load(numbers)

    def close(self) -> None:
        """Let the thread end."""
        self._pool.shutdown(cancel_futures=True)

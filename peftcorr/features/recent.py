"""The maps of the images that were matched last, in memory: one picture against many is encoded once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

from torch import Tensor

from peftcorr.data.correspondences import Correspondences, Ints
from peftcorr.data.images import Frame, ImageStore
from peftcorr.features.encode import Encoder
from peftcorr.features.kept import Kept

BUDGET = 256 << 20
"""Bytes of maps that are kept unless somebody says otherwise."""


class RecentMaps:
    """A `MapCache` of one encoder, for images whose paths are digests of their content (`data.given.GivenImages`).

    Args:
        budget: bytes that maps may take; what was used least of late makes room.
    """

    def __init__(self, budget: int = BUDGET):
        self._budget = budget
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._bytes = 0
        self._changing = Lock()  # one thread reads ahead while another keeps what is new

    def __len__(self) -> int:
        return len(self._kept)

    def shelf(
        self,
        data: Correspondences,
        store: ImageStore,
        encoder: Encoder,
        images: Ints,
        shape: tuple[int, ...],
        say: Callable[[str], None],
        *,
        form: str | None = None,
    ) -> _Shelf:
        """See `MapCache.shelf`; one encoder has one form."""
        return _Shelf(self, {int(number): encoder.key(data, int(number)) for number in images})

    def find(self, key: str) -> Kept | None:
        """What is kept of an image, which then was used last."""
        with self._changing:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def keep(self, key: str, kept: Kept) -> None:
        """Keep an image's map, unless it is larger than the budget."""
        size = _bytes(kept)
        if size > self._budget:
            return
        with self._changing:
            if key not in self._kept:
                self._kept[key] = kept
                self._bytes += size
            while self._bytes > self._budget:
                self._bytes -= _bytes(self._kept.popitem(last=False)[1])


def _bytes(kept: Kept) -> int:
    return kept.feature.numel() * kept.feature.element_size()


class _Shelf:
    """`MapShelf` of the images of one call."""

    def __init__(self, recent: RecentMaps, keys: dict[int, str]):
        self._recent, self._keys = recent, keys

    def get(self, images: Ints) -> dict[int, Kept]:
        found = {int(image): self._recent.find(self._keys[int(image)]) for image in images}
        return {image: kept for image, kept in found.items() if kept is not None}

    def put(self, images: Ints, features: Tensor, frames: Sequence[Frame]) -> None:
        for image, feature, frame in zip(images, features, frames, strict=True):
            # Of its own: a row of the batch would hold the others too.
            self._recent.keep(self._keys[int(image)], Kept(feature.clone(), frame))

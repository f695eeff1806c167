"""Maps that are kept from one split to the next, whoever keeps them: on disk (`cache`) or in memory (`recent`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from peftcorr.data.correspondences import Correspondences, Ints
from peftcorr.data.images import Frame, ImageStore
from peftcorr.features.encode import Encoder


@dataclass(frozen=True)
class Kept:
    """What is kept of an image (of features the normalised map (h, w, C)), and its geometry."""

    feature: Tensor
    frame: Frame


class MapShelf(Protocol):
    """What is kept of the images of one split."""

    def get(self, images: Ints) -> dict[int, Kept]:
        """Those of `images` that are kept, by number."""

    def put(self, images: Ints, features: Tensor, frames: Sequence[Frame]) -> None:
        """Keep the normalised maps (len(images), h, w, C) of some images."""


class MapCache(Protocol):
    """What opens a shelf for each split."""

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
    ) -> MapShelf | None:
        """What is kept for an encoder; None where nothing can be.

        Args:
            data: has the images.
            store: brings them to the encoder's size.
            encoder: what it is kept of.
            images: numbers of those that will be asked for.
            shape: of a map, h, w, C.
            say: is told what will be written.
            form: what was done to features before they are kept, where it is not what the protocol does.
        """

"""What frozen blocks make of each image, kept in the cache folder for every training that has them in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from peftcorr.backbones.base import TokenState
from peftcorr.data.images import Frame
from peftcorr.features.cache import Shelf


class SharedPrefixes:
    """`Prefixes` of all trainings that have the frozen blocks in common, in the cache folder.

    Args:
        shelf: of one split.
        images: number in the split by key.
        frame: geometry of an image, by number.
        grid: height and width of a state, in tokens.
        dtype: how states are kept.
    """

    def __init__(
        self,
        shelf: Shelf,
        images: Mapping[str, int],
        frame: Callable[[int], Frame],
        grid: tuple[int, int],
        dtype: torch.dtype,
    ):
        self._shelf, self._images, self._frame, self._grid, self._dtype = shelf, images, frame, grid, dtype
        self._known: dict[str, Tensor] = {}

    def missing(self, keys: Sequence[str]) -> list[str]:
        """See `Prefixes`."""
        if not self._look(keys):
            return []
        self._shelf.scan()  # another training may have kept some of them by now
        return self._look(keys)

    def put(self, keys: Sequence[str], state: TokenState) -> None:
        """See `Prefixes`."""
        tokens = state.tokens.detach().to(self._dtype)
        numbers = [self._images[key] for key in keys]
        self._shelf.put(np.array(numbers), tokens, [self._frame(number) for number in numbers])
        own = dict(zip(keys, tokens, strict=True))
        self._known |= {key: own[key].cpu() for key in self._look(keys)}  # files that were changed meanwhile

    def get(self, keys: Sequence[str], device: torch.device) -> TokenState:
        """See `Prefixes`."""
        tokens = torch.stack([self._known[key] for key in keys])
        return TokenState(tokens.to(device).float(), *self._grid)

    def _look(self, keys: Sequence[str]) -> list[str]:
        """Map what is kept of `keys`; returns the others, each once."""
        unknown = [key for key in dict.fromkeys(keys) if key not in self._known]
        if unknown:
            found = self._shelf.get(np.array([self._images[key] for key in unknown]))
            self._known |= {key: found[n].feature for key in unknown if (n := self._images[key]) in found}
        return [key for key in unknown if key not in self._known]

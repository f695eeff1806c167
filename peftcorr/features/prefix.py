"""What the frozen blocks before the first trainable one make of each image: computed once, kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from peftcorr.backbones.base import TokenState
from peftcorr.data.scratch import ScratchRows


class Prefixes(Protocol):
    """Token states by image: its path, and its category where the backbone looks at that."""

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Those of `keys` that have no state yet, each once."""

    def put(self, keys: Sequence[str], state: TokenState) -> None:
        """Keep one state an image.

        Raises:
            PeftCorrError: if there is no room.
        """

    def get(self, keys: Sequence[str], device: torch.device) -> TokenState:
        """States of `keys` as one float32 batch on `device`."""


class PrefixStore:
    """`Prefixes` of one training, in a temporary file.

    It is only as true as the frozen blocks are frozen and the images unchanged: make a new one for every backbone,
    size, precision and augmentation.

    Args:
        dtype: how states are kept; bfloat16 halves the disk and rounds.
    """

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self._dtype = dtype
        self._rows = ScratchRows("the frozen blocks' output")
        self._slots: dict[str, int] = {}
        self._grid = (0, 0)

    def __len__(self) -> int:
        return len(self._slots)

    def missing(self, keys: Sequence[str]) -> list[str]:
        """See `Prefixes`."""
        return [key for key in dict.fromkeys(keys) if key not in self._slots]

    def put(self, keys: Sequence[str], state: TokenState) -> None:
        """See `Prefixes`."""
        self._grid = (state.height, state.width)
        first = len(self._rows)
        self._rows.write(first, state.tokens.detach().to(self._dtype))
        self._slots.update({key: first + place for place, key in enumerate(keys)})

    def get(self, keys: Sequence[str], device: torch.device) -> TokenState:
        """See `Prefixes`."""
        tokens = self._rows.read([self._slots[key] for key in keys])
        return TokenState(tokens.to(device).float(), *self._grid)

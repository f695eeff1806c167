"""What the frozen blocks before the first trainable one make of each image: computed once, kept on disk."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from peftcorr.backbones.base import TokenState
from peftcorr.features.scratch import ScratchRows


class PrefixStore:
    """Token states by image path.

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

    def missing(self, paths: Sequence[str]) -> list[str]:
        """Those of `paths` that have no state yet, each once."""
        return [path for path in dict.fromkeys(paths) if path not in self._slots]

    def put(self, paths: Sequence[str], state: TokenState) -> None:
        """Keep one state an image.

        Raises:
            PeftCorrError: if the temporary folder has no room.
        """
        self._grid = (state.height, state.width)
        first = self._rows.append(state.tokens.detach().to(self._dtype))
        self._slots.update({path: first + place for place, path in enumerate(paths)})

    def get(self, paths: Sequence[str], device: torch.device) -> TokenState:
        """States of `paths` as one float32 batch on `device`."""
        tokens = self._rows.read([self._slots[path] for path in paths])
        return TokenState(tokens.to(device).float(), *self._grid)

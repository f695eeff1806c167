"""What the frozen blocks before the first trainable one make of each image: computed once, kept on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from peftcorr.backbones.base import TokenState
from peftcorr.errors import PeftCorrError


class PrefixStore:
    """Token states by image path, in memory-mapped temporary files that no folder lists.

    It is only as true as the frozen blocks are frozen: make a new one for every backbone, size and precision.
    """

    def __init__(self) -> None:
        self._states: dict[str, NDArray[np.float32]] = {}
        self._grid = (0, 0)

    def missing(self, paths: Sequence[str]) -> set[str]:
        """Those of `paths` that have no state yet."""
        return {path for path in paths if path not in self._states}

    def put(self, paths: Sequence[str], state: TokenState) -> None:
        """Keep one state an image.

        Raises:
            PeftCorrError: if the temporary folder has no room.
        """
        self._grid = (state.height, state.width)
        tokens = state.tokens.float().cpu().numpy()
        file = tempfile.TemporaryFile(prefix="peftcorr-prefix-")  # noqa: SIM115
        try:
            file.write(tokens.tobytes())
            file.flush()
        except OSError as error:
            raise PeftCorrError(
                f"No room in {tempfile.gettempdir()} to keep the frozen blocks' output ({error.strerror}): free some "
                "space or set TMPDIR to another disk."
            ) from error
        kept = np.memmap(file, dtype=np.float32, mode="r", shape=tokens.shape)
        for index, path in enumerate(paths):
            self._states[path] = kept[index]

    def get(self, paths: Sequence[str], device: torch.device) -> TokenState:
        """States of `paths` as one batch on `device`."""
        tokens = torch.from_numpy(np.stack([self._states[path] for path in paths]))
        return TokenState(tokens.to(device), *self._grid)

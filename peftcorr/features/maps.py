"""Feature maps that wait to be matched: in memory up to a budget, the rest in a temporary file."""

from __future__ import annotations

from heapq import heappop, heappush

import torch
from torch import Tensor

from peftcorr.data.scratch import ScratchRows


class WaitingMaps:
    """Maps (h, w, C) by image number, each put once and taken once.

    Args:
        shape: h, w, C.
        most: maps that wait at once, at most; no more memory than they need is set aside.
        budget: bytes of memory that they may fill; what is beyond goes to disk, and comes back when it is taken.
        device: where the maps in memory are.
    """

    def __init__(self, shape: tuple[int, int, int], most: int, budget: int, device: torch.device):
        self._shape, self._device = shape, device
        self._map_bytes = 4 * shape[0] * shape[1] * shape[2]
        places = max(0, min(most, budget // self._map_bytes))
        self._memory = torch.empty((places, *shape), device=device)  # pages are touched only as maps come
        self._free = list(range(places))  # a heap: places in memory come first, those beyond are rows on disk
        self._place: dict[int, int] = {}
        self._disk: ScratchRows | None = None

    def __len__(self) -> int:
        return len(self._place)

    @property
    def held_bytes(self) -> int:
        """Memory that maps fill now."""
        return self._map_bytes * sum(place < len(self._memory) for place in self._place.values())

    def put(self, number: int, feature: Tensor) -> None:
        """Keep the map (h, w, C) of an image, as float32.

        Raises:
            PeftCorrError: if it has to go to disk and the temporary folder has no room.
        """
        # Without a free place all are taken, so that the next is as many as there are.
        self._place[number] = place = heappop(self._free) if self._free else len(self._place)
        if place < len(self._memory):
            self._memory[place] = feature
            return
        if self._disk is None:
            self._disk = ScratchRows("feature maps beyond --memory")
        self._disk.write(place - len(self._memory), feature.float()[None])

    def take(self, number: int) -> Tensor:
        """The map (h, w, C) of an image, which is then forgotten: use it before anything is put."""
        place = self._place.pop(number)
        heappush(self._free, place)
        if place < len(self._memory):
            return self._memory[place]
        assert self._disk is not None
        return self._disk.read([place - len(self._memory)])[0].to(self._device)

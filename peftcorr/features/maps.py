"""Feature maps that wait to be matched: in memory up to a budget, the rest in a temporary file."""

from __future__ import annotations

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

    Attributes:
        spilled: how many maps went to disk so far.
        peak_bytes: memory that maps filled at most.
    """

    def __init__(self, shape: tuple[int, int, int], most: int, budget: int, device: torch.device):
        self._shape, self._device = shape, device
        self._map_bytes = 4 * shape[0] * shape[1] * shape[2]
        places = max(0, min(most, budget // self._map_bytes))
        self._memory = torch.empty((places, *shape), device=device)  # pages are touched only as maps come
        self._free = list(range(places))[::-1]
        self._place: dict[int, int] = {}
        self._disk: ScratchRows | None = None
        self._disk_free: list[int] = []
        self._disk_place: dict[int, int] = {}
        self.spilled = 0
        self.peak_bytes = 0

    def __len__(self) -> int:
        return len(self._place) + len(self._disk_place)

    @property
    def held_bytes(self) -> int:
        """Memory that maps fill now."""
        return len(self._place) * self._map_bytes

    def put(self, number: int, feature: Tensor) -> None:
        """Keep the map (h, w, C) of an image, as float32.

        Raises:
            PeftCorrError: if it has to go to disk and the temporary folder has no room.
        """
        if self._free:
            place = self._free.pop()
            self._memory[place] = feature
            self._place[number] = place
            self.peak_bytes = max(self.peak_bytes, self.held_bytes)
            return
        if self._disk is None:
            self._disk = ScratchRows("feature maps beyond --memory")
        row = feature.float()[None]
        if self._disk_free:
            self._disk_place[number] = self._disk_free.pop()
            self._disk.replace(self._disk_place[number], row)
        else:
            self._disk_place[number] = self._disk.append(row)
        self.spilled += 1

    def take(self, number: int) -> Tensor:
        """The map (h, w, C) of an image, which is then forgotten: use it before anything is put."""
        if number in self._place:
            place = self._place.pop(number)
            self._free.append(place)
            return self._memory[place]
        assert self._disk is not None
        place = self._disk_place.pop(number)
        self._disk_free.append(place)
        return self._disk.read([place])[0].to(self._device)

"""One split of a dataset, as a loader hands it on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # its import takes longer than a renderer's process has to live
    import datasets

Exif = Literal["auto", "stored", "shown"]  # frame that photographs which are stored turned were annotated in


@dataclass(frozen=True)
class PairDataset:
    """One split of a dataset.

    Attributes:
        name: name shown in records (a folder's own name for ``pairs``).
        split: ``trn``, ``val`` or ``test``.
        image_root: folder that the image columns are relative to.
        table: Arrow table with the columns of `peftcorr.data.columns.PAIR_FEATURES`.
        notes: sentences on what was found in it, for people.
    """

    name: str
    split: str
    image_root: Path
    table: datasets.Dataset
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    def limited(self, pairs: int | None) -> PairDataset:
        """Return the first `pairs` pairs of an evenly spaced choice (all when None)."""
        if pairs is None or pairs >= len(self):
            return self
        keep = [index * len(self) // pairs for index in range(pairs)]
        return replace(self, table=self.table.select(keep))

"""What every dataset gives: an Arrow table of pairs, one row a pair, and the folder its images are in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from peftcorr.registry import Registry

if TYPE_CHECKING:  # its import takes longer than a renderer's process has to live
    import datasets


@dataclass(frozen=True)
class PairDataset:
    """One split of a dataset.

    Attributes:
        name: name shown in records (a folder's own name for ``pairs``).
        split: ``trn``, ``val`` or ``test``.
        image_root: folder that the image columns are relative to.
        table: Arrow table with the columns of `peftcorr.data.columns.PAIR_FEATURES`.
    """

    name: str
    split: str
    image_root: Path
    table: datasets.Dataset

    def __len__(self) -> int:
        return len(self.table)

    def limited(self, pairs: int | None) -> PairDataset:
        """Return the first `pairs` pairs of an evenly spaced choice (all when None)."""
        if pairs is None or pairs >= len(self):
            return self
        keep = [index * len(self) // pairs for index in range(pairs)]
        return replace(self, table=self.table.select(keep))


Progress = Callable[[int, int], None]  # (done, total)


class DatasetSource(ABC):
    """A named dataset: knows its splits and turns one into a `PairDataset`.

    A plugin derives from it and defines `Config`, `splits` and `load`.
    """

    class Config(BaseModel):
        """Options of a recipe's ``dataset`` section."""

        model_config = ConfigDict(extra="forbid", frozen=True)

    needs_root: bool = True

    def __init__(self, config: BaseModel, root: Path | None, cache: Path, progress: Progress | None = None):
        self.config = config
        self.root = root
        self.cache = cache
        self.progress = progress

    @property
    @abstractmethod
    def name(self) -> str:
        """Name shown in records."""

    @abstractmethod
    def splits(self) -> list[str]:
        """Splits that are there to be loaded."""

    @abstractmethod
    def load(self, split: str) -> PairDataset:
        """Read a split, from the Arrow cache when it is there and still true.

        Raises:
            PeftCorrError: if a file is missing or malformed, naming the file and the field.
        """


DATASETS: Registry[DatasetSource] = Registry("dataset", "peftcorr.datasets", lambda: DatasetSource)

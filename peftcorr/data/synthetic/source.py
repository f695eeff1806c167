"""The embedded benchmark as a dataset: rendered once into the cache, then read like any SPair-71k folder."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path

from peftcorr.data.base import DatasetSource, PairDataset
from peftcorr.data.layouts.spair import SpairFolder
from peftcorr.data.splits import SPLITS
from peftcorr.data.synthetic import SyntheticConfig
from peftcorr.data.synthetic.rendered import rendered


class Synthetic(DatasetSource):
    """Articulated objects rendered on the CPU.

    It needs no data root.
    """

    needs_root = False

    class Config(SyntheticConfig, DatasetSource.Config):
        """What to render: seed, categories, images and pairs of each split."""

    config: Config

    @property
    def name(self) -> str:
        """``synthetic``; other settings make another benchmark, so its name has their fingerprint."""
        own = self.config.fingerprint()
        return "synthetic" if own == type(self.config)().fingerprint() else f"synthetic-{own[:8]}"

    def splits(self) -> list[str]:
        """Splits that the settings give pairs to; nothing is rendered to tell."""
        images, pairs = self.config.images, self.config.pairs
        return [split for split in SPLITS if images.of(split) > 1 and pairs.of(split) > 0]

    def load(self, split: str) -> PairDataset:
        """Read a split, rendering the benchmark first if this cache does not have it.

        Of several processes one renders and the others wait.

        Raises:
            PeftCorrError: if the split is empty or the cache cannot be written.
        """
        self.require_split(split)
        folder = SpairFolder(SpairFolder.Config(), self._rendered, self.cache, self.progress)
        return replace(folder.load(split), name=self.name)

    @cached_property
    def _rendered(self) -> Path:
        """The folder, looked through once for all splits."""
        return rendered(self.cache, self.config, self.progress)

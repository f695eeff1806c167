"""What a run needs of this machine: folders, caches and what earlier runs of the same process opened."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from peftcorr.backbones import Backbone, Weights
from peftcorr.config import Section, options
from peftcorr.console.progress import Progress
from peftcorr.data import DATASETS
from peftcorr.data.base import DatasetSource
from peftcorr.data.correspondences import correspondences
from peftcorr.data.guard import require_open
from peftcorr.data.images import ImageStore
from peftcorr.data.published.catalogue import CATALOGUE, prepared_folder
from peftcorr.engine.evaluate import MEMORY, Split
from peftcorr.errors import PeftCorrError
from peftcorr.results.store import Store


@dataclass
class Workbench:
    """What a run needs of this machine, and what later runs of the same process may use again.

    Attributes:
        data_roots: folder of each dataset that needs one, by name; ``""`` serves every other.
        weights: folder given with ``--weights``.
        output: where records, predictions, adapters and the leaderboard go.
        cache: where annotation tables, rendered images and features are kept.
        memory: bytes of features that a process may hold while it scores.
        keep_features: whether features of frozen backbones are kept in `cache`.
    """

    data_roots: dict[str, Path]
    weights: Path | None
    output: Path
    cache: Path
    progress: Progress
    memory: int = MEMORY
    keep_features: bool = False
    _splits: dict[str, Split] = field(default_factory=dict)
    _weights: dict[str, Weights] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        """The output folder."""
        return Store(self.output)

    def source(self, section: Section) -> DatasetSource:
        """The dataset that a recipe's section names.

        Raises:
            PeftCorrError: if it needs a folder, and none was given or prepared.
        """
        name = section["name"]
        cls = DATASETS.get(name)
        root = self.data_roots.get(name, self.data_roots.get(""))
        if cls.needs_root and root is None:
            root = prepared_folder(self.cache, name)
            if not root.is_dir():
                raise PeftCorrError(f"The dataset {name!r} needs its folder: {self._how_to_get(name)}.")
        return cls(
            cls.Config(**options(section)),
            root if cls.needs_root else None,
            self.cache,
            self.progress.callback(f"prepare {name}"),
        )

    @staticmethod
    def _how_to_get(name: str) -> str:
        give = f"give --data-root {name}=PATH"
        return f"{give}, or have it made by peftcorr data prepare {name}" if name in CATALOGUE else give

    def split(self, section: Section, split: str, size: int, mode: str, limit: int | None) -> Split:
        """A split with its images at one size, loaded once a process.

        Raises:
            PeftCorrError: if it cannot be loaded, or is the test split while a run still trains or selects.
        """
        require_open(split)  # an earlier run may have loaded it
        key = json.dumps([section, split, size, mode, limit], sort_keys=True)
        if key not in self._splits:
            dataset = self.source(section).load(split).limited(limit)
            store = next(
                (s.store for s in self._splits.values()
                 if (s.store.image_root, s.store.size, s.store.mode) == (dataset.image_root, size, mode)),
                None,
            ) or ImageStore(dataset.image_root, size, "pad" if mode == "pad" else "stretch")  # fmt: skip
            self._splits[key] = Split(dataset, correspondences(dataset), store)
        return self._splits[key]

    def weights_of(self, backbone: type[Backbone], config: Backbone.Config) -> Weights:
        """What a backbone will be loaded from: ``--weights``, else what ships with it, else the hub."""
        key = f"{backbone.__module__}.{backbone.__qualname__} {config.model_dump_json()}"
        if key not in self._weights:  # files of gigabytes are hashed once
            self._weights[key] = backbone.find_weights(config, self.weights)
        return self._weights[key]

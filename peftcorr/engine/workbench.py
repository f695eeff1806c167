"""What a run needs of this machine: folders, caches and what earlier runs of the same process opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from peftcorr.backbones import Backbone, Weights
from peftcorr.backbones.loading import fetched
from peftcorr.config import Section, options
from peftcorr.console.progress import Progress
from peftcorr.data import DATASETS
from peftcorr.data.base import DatasetSource, PairDataset
from peftcorr.data.correspondences import correspondences
from peftcorr.data.frame import FRAMINGS, Framing
from peftcorr.data.guard import require_open
from peftcorr.data.images import ImageStore
from peftcorr.data.published.catalogue import CATALOGUE, prepared_folder
from peftcorr.data.reference import reversed_pairs
from peftcorr.engine.evaluate import MEMORY, Split
from peftcorr.errors import PeftCorrError, shown
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
        download: whether weights that are not here may be fetched.
        shared: ids of runs that keep the output of their frozen blocks in `cache`, for one another.
        cache_limit: bytes that this and features may take there together.
        track: trackers that are told of trainings; see `peftcorr.machine.trackers`.
    """

    data_roots: dict[str, Path]
    weights: Path | None
    output: Path
    cache: Path
    progress: Progress
    memory: int = MEMORY
    keep_features: bool = False
    download: bool = True
    shared: frozenset[str] = frozenset()
    cache_limit: int | None = None
    track: tuple[str, ...] = ()
    _opened: dict[tuple[object, ...], PairDataset] = field(default_factory=dict)
    _splits: dict[tuple[object, ...], Split] = field(default_factory=dict)
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
                raise PeftCorrError(f"The dataset {shown(name)} needs its folder: {self._how_to_get(name)}.")
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

    def opened(self, source: DatasetSource, split: str) -> PairDataset:
        """All pairs of a split, read once a process.

        Raises:
            PeftCorrError: as `split`.
        """
        require_open(split)  # an earlier run may have opened it
        key = (*_which(source), split)
        if key not in self._opened:
            self._opened[key] = source.load(split)
            for note in self._opened[key].notes:
                self.progress.say(note)
        return self._opened[key]

    def split(
        self,
        source: DatasetSource,
        split: str,
        shape: Backbone.Config,
        limit: int | None = None,
        framing: Framing = FRAMINGS["peftcorr"],
        backwards: bool = False,
    ) -> Split:
        """A split with its images at a backbone's size, loaded once a process.

        Args:
            source: the dataset.
            split: ``trn``, ``val`` or ``test``.
            shape: options of the backbone: how large its images are and how they are resized.
            limit: how many evenly spaced pairs; None for all.
            framing: may resize images in a way of its own.
            backwards: look for the target's keypoints in the source, whose reference length then counts.

        Raises:
            PeftCorrError: if it cannot be loaded, or is the test split while a run still trains or selects.
        """
        require_open(split)
        size, mode = shape.image_size, framing.resized(source.name, shape.resize)
        key = (*_which(source), split, size, mode, limit, backwards)
        if key not in self._splits:
            dataset = self.opened(source, split).limited(limit)
            place = (dataset.image_root, size, mode)
            stores = [s.store for s in self._splits.values()]
            same = [store for store in stores if (store.image_root, store.size, store.mode) == place]
            store = same[0] if same else ImageStore(*place)
            data = correspondences(dataset)
            if backwards:
                data = reversed_pairs(data, store.sizes(data.images, data.sizes))
            self._splits[key] = Split(dataset, data, store, backwards=backwards)
        return self._splits[key]

    def weights_of(self, backbone: type[Backbone], config: Backbone.Config) -> Weights:
        """What a backbone is loaded from: ``--weights``, else what ships with it, else the hub's, fetched.

        Raises:
            PeftCorrError: if it is not there, or the hub cannot be reached.
        """
        key = f"{backbone.__module__}.{backbone.__qualname__} {config.model_dump_json()}"
        if key not in self._weights:  # files of gigabytes are hashed once
            self._weights[key] = fetched(
                backbone, config, backbone.find_weights(config, self.weights), self.download
            )
        return self._weights[key]


def _which(source: DatasetSource) -> tuple[object, ...]:
    """What tells one opened dataset from another."""
    return (type(source).__module__, type(source).__qualname__, source.config.model_dump_json(), source.root)

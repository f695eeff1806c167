"""The pictures that a finished run was scored on, from the data root."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from peftcorr.config import Section
from peftcorr.data.base import PairDataset
from peftcorr.data.identity import annotation_digest, images_digest
from peftcorr.data.images import decode
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError, shown
from peftcorr.recipe import validate
from peftcorr.results.record import Record


class Pictures:
    """The images of a split, in the frame that they were annotated in."""

    def __init__(self, dataset: PairDataset):
        self._root = dataset.image_root
        self._sizes: dict[str, list[int]] = {}
        for side in ("source", "target"):
            columns = (dataset.table[f"{side}_image"], dataset.table[f"{side}_size"])
            self._sizes.update(zip(*columns, strict=True))

    def read(self, path: str) -> NDArray[np.uint8]:
        """One image, (H, W, 3) uint8.

        Raises:
            PeftCorrError: if it is none of the split's or cannot be decoded.
        """
        if path not in self._sizes:  # what a file of predictions names is no way out of the folder
            raise PeftCorrError(
                f"The data root {self._root} has no image {shown(path)}: give the folder that the run "
                "read with --data-root."
            )
        return decode(self._root / path, self._sizes[path])


def pictures(record: Record, dataset: str, split: str, bench: Workbench) -> Pictures:
    """The pictures of a split that a run was scored on.

    Args:
        record: of the run; its recipe names the dataset.
        dataset, split: as the run's predictions name them.
        bench: has the data roots.

    Raises:
        PeftCorrError: if no dataset of the recipe is called so, its folder is not here or cannot be read, or its pairs
            or images are others than the run read.
    """
    recipe = validate(record.recipe, f"The record {record.run_id}")
    sections = {"dataset": recipe.dataset} | {f"eval_on.{n}": part for n, part in enumerate(recipe.eval_on)}
    # Only what could be it is opened: the folder of another dataset of the recipe may not be here.
    named = [place for place, section in sections.items() if _could_be(section, dataset)]
    there = []
    for place in named or sections:
        # The folder's name is no more than a name: its content is held against what the run read.
        section = {key: value for key, value in sections[place].items() if key != "folder"}
        source = bench.source(section)
        there.append(source.name)
        if sections[place].get("folder", source.name) == dataset:
            found = bench.opened(source, split)
            _require_same(record, place, split, found, bench)
            return Pictures(found)
    raise PeftCorrError(
        f"The run {record.run_id} was scored on {shown(dataset)}, but the data root holds "
        f"{', '.join(map(shown, there))}: give the right --data-root."
    )


def _could_be(section: Section, dataset: str) -> bool:
    name = section["name"]
    return bool(
        section["folder"] == dataset
        if section.get("folder")
        else dataset == name or dataset.startswith(f"{name}-")
    )


def _require_same(record: Record, place: str, split: str, found: PairDataset, bench: Workbench) -> None:
    """Refuse pairs or images that are others than the run read; what version 1 recorded cannot be told."""
    for kind, what, own in (
        ("annotation", "annotations", annotation_digest),
        ("images", "images", lambda dataset: images_digest(dataset, bench.cache)),
    ):
        read = record.ingredients.get(f"{kind} {place}/{split}")
        if read is not None and own(found) != read:
            raise PeftCorrError(
                f"The run {record.run_id} read other {what} than there are below {found.image_root}: give the folder "
                "that it read with --data-root."
            )

"""Counting what a dataset's loader gives, and opening every image of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os import cpu_count

from peftcorr.console.progress import Progress
from peftcorr.data.base import DatasetSource, PairDataset
from peftcorr.data.correspondences import correspondences
from peftcorr.data.images import decode
from peftcorr.data.published.catalogue import Figures
from peftcorr.errors import PeftCorrError


@dataclass
class SplitCheck:
    """What was found in one split.

    Attributes:
        split: its name.
        found: what the loader gives; None where it gives nothing.
        missing, unreadable: distinct images that are not there, or cannot be decoded to their annotated size.
        problems: a sentence for each of these, or why the split could not be read.
        notes: what the loader found that is no fault.
    """

    split: str
    found: Figures | None = None
    missing: int = 0
    unreadable: int = 0
    problems: list[str] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def differences(self, published: Figures | None) -> list[str]:
        """Names of the figures that are not as published."""
        if published is None:
            return []
        return [
            name
            for name, value in vars(published).items()
            if value is not None and (self.found is None or getattr(self.found, name) != value)
        ]


def check_split(
    source: DatasetSource, split: str, progress: Progress, dataset: PairDataset | None = None
) -> SplitCheck:
    """Load a split, unless it is given, count it and decode each of its images once."""
    result = SplitCheck(split)
    try:
        dataset = source.load(split) if dataset is None else dataset
    except PeftCorrError as error:
        result.problems.append(str(error))
        return result
    result.notes = dataset.notes
    flat = correspondences(dataset)
    result.found = Figures(
        pairs=len(dataset), categories=len(set(flat.categories)), images=len(flat.images), keypoints=len(flat)
    )
    sizes = dict(zip(flat.images, flat.sizes, strict=True))  # an image of two categories is one file

    def problem(image: str) -> str | None:
        try:
            decode(dataset.image_root / image, sizes[image])
        except PeftCorrError as error:
            return str(error)
        return None

    with (
        ThreadPoolExecutor(min(4, cpu_count() or 1)) as pool,
        progress.track(f"decode images of {split}", len(sizes), "images") as bar,
    ):
        for image, found in zip(sizes, pool.map(problem, sizes), strict=True):
            bar.advance(1)
            if found is not None:
                there = (dataset.image_root / image).exists()
                result.problems.append(found)
                result.unreadable += there
                result.missing += not there
    return result

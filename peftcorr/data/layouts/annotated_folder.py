"""What annotated images have in common, whatever their annotation is written in: how they are paired.

They are a user's own, in a folder that carries its own name, or a published set.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from peftcorr.data.base import Progress, given_folder
from peftcorr.data.layouts.drawn_source import DrawnPair, DrawnSource
from peftcorr.data.layouts.instance import Annotation, Instance, has_extent
from peftcorr.data.layouts.pair_draw import sharing, some, stream
from peftcorr.data.layouts.split_lists import FOLDER, listed_splits, read_lists, require_known
from peftcorr.errors import PeftCorrError, shown

_MOST_OBJECTS = 2048  # of one group that are paired with each other; of more, this many are drawn first
_MOST_PAIRS = 1_000_000  # of one group without the option `pairs`


class AnnotatedImages(DrawnSource):
    """Annotated images; pairs are drawn from a seed.

    Inside a category, and with `within` inside a supercategory or the whole annotation, all ordered pairs of two
    objects on different images that share enough keypoints are taken, or `pairs` of them. Keypoints are the same where
    their names are. Where the annotation does not tell splits, the lists of `peftcorr data split` do; without them all
    of it is the test split.
    """

    class Config(DrawnSource.Config):
        """Options of annotated images."""

        within: Literal["category", "supercategory", "all"] = Field(
            default="category", description="what both objects of a pair are of"
        )
        objects: Literal["all", "largest"] = Field(
            default="all",
            description="of an image with several: each for itself, or the largest of a category",
        )
        shared: int = Field(default=3, ge=1, description="keypoints that both objects of a pair must have")
        pairs: int | None = Field(default=None, ge=1, description="of each category; null: all")

    config: Config
    registered: str  # the name of the dataset on the command line
    needs: Sequence[str] = ()  # what the data root has in it
    unpacked: Sequence[str] = ()  # folders of which one may lie in the root
    # options that make another benchmark
    telling: tuple[str, ...] = ("within", "objects", "shared", "pairs", "seed")

    def __init__(self, config: BaseModel, root: Path | None, cache: Path, progress: Progress | None = None):
        super().__init__(config, root, cache, progress)
        self.place = given_folder(root, self.registered, self.needs, self.unpacked)
        self.shared = self.config.shared

    @property
    def called(self) -> str:
        """What the images are called, whichever pairs are drawn of them."""
        return self.registered

    @abstractmethod
    def own_splits(self) -> list[str]:
        """Splits that the annotation tells itself; none where it is one for all."""

    @abstractmethod
    def read(self, split: str | None = None) -> Annotation:
        """The annotated objects of one of its own splits, or all where it has none.

        Raises:
            PeftCorrError: if a file is missing or malformed, naming the file and the field.
        """

    @abstractmethod
    def is_annotated(self) -> bool:
        """Whether there is an annotation that is one for all splits."""

    @property
    def name(self) -> str:
        """What they are called, and what was chosen among their pairs: other pairs are another benchmark."""
        options, default = self.config, type(self.config)()
        chosen = [
            f"{key}_{getattr(options, key)}"
            for key in self.telling
            if getattr(options, key) != getattr(default, key)
        ]
        return "-".join([self.called, *chosen])

    def splits(self) -> list[str]:
        """Splits that the annotation has, or the lists; else ``test``."""
        if found := self.own_splits():
            return found
        return (listed_splits(self.place) or ["test"]) if self.is_annotated() else []

    def dividing(self) -> bytes:
        """What tells an annotation's objects apart by split, for the stamp."""
        return b"" if self.own_splits() else repr(sorted(read_lists(self.place).items())).encode()

    def drawn(self, split: str, notes: list[str]) -> list[DrawnPair]:
        """All pairs, or `pairs` of each group drawn from the seed; groups by name, objects by image."""
        options = self.config
        pairs: list[DrawnPair] = []
        for name, members in self._groups(self._of(split, notes)):
            enough = [member for member in members if len(member.keypoints) >= options.shared]
            kept = some(len(enough), _MOST_OBJECTS, stream(options.seed, split, name, "images"))
            enough = [enough[index] for index in kept]
            found = sharing(enough, enough, options.shared)
            _, image = np.unique([member.image for member in enough] or [""], return_inverse=True)
            found = found[image[found[:, 0]] != image[found[:, 1]]]
            if options.pairs is None and len(found) > _MOST_PAIRS:
                raise PeftCorrError(
                    f"{self.annotation(split)}: {shown(name)} has {len(found):,} pairs among {len(enough):,} objects "
                    "alone: choose how many are drawn with the option pairs (--set dataset.pairs=1000)."
                )
            chosen = some(len(found), options.pairs, stream(options.seed, split, name, "pairs"))
            pairs += [(name, enough[i], enough[j]) for i, j in found[chosen].tolist()]
        return pairs

    def _of(self, split: str, notes: list[str]) -> list[Instance]:
        """The objects of a split that distances can be measured by."""
        own = split in self.own_splits()
        annotation = self.read(split if own else None)
        notes += annotation.notes
        found = annotation.instances
        if not own and (lists := read_lists(self.place)):
            require_known(self.place, lists, {instance.image for instance in found})
            unlisted = {instance.image for instance in found} - lists.keys()
            if unlisted:
                notes.append(
                    f"{self.place / FOLDER} does not list {len(unlisted):,} of the annotated images."
                )
            found = [instance for instance in found if lists.get(instance.image) == split]
        sized = [i for i in found if has_extent(i.box) or len(i.keypoints) < self.shared]
        if flat := len(found) - len(sized):
            notes.append(
                f"{self.annotation(split)}: {flat:,} objects have no box, and all their keypoints at one place: they "
                "are left out."
            )
        return sized

    def _groups(self, instances: Iterable[Instance]) -> list[tuple[str, list[Instance]]]:
        """Objects that may be paired, by the group's name; crowds are in none."""
        within = self.config.within
        groups: dict[str, list[Instance]] = {}
        for instance in instances:
            if not instance.crowd:
                groups.setdefault("all" if within == "all" else getattr(instance, within), []).append(
                    instance
                )
        if self.config.objects == "largest":
            groups = {name: _largest(members) for name, members in groups.items()}
        return [
            (name, sorted(members, key=lambda i: (i.image, len(i.object), i.object)))
            for name, members in sorted(groups.items())
        ]


class AnnotatedFolder(AnnotatedImages):
    """A folder of annotated images that carries its own name."""

    class Config(AnnotatedImages.Config):
        """Options of a folder of annotated images."""

        folder: str | None = Field(
            default=None, description="name that the data root must have, from a record"
        )

    config: Config
    stray = 0.0

    def __init__(self, config: BaseModel, root: Path | None, cache: Path, progress: Progress | None = None):
        super().__init__(config, root, cache, progress)
        self.require_name(self.config.folder)

    @property
    def called(self) -> str:
        """The folder's own name."""
        return self.place.resolve().name

    def identity(self) -> dict[str, Any]:
        """The folder's name and the checksum of each split's list of pairs."""
        return {"folder": self.name, **super().identity()}


def _largest(members: Iterable[Instance]) -> list[Instance]:
    """Of each image the object with the largest area, the first of equal ones."""
    largest: dict[str, Instance] = {}
    for instance in members:
        known = largest.setdefault(instance.image, instance)
        largest[instance.image] = max(known, instance, key=lambda i: i.area)
    return [replace(instance, object="") for instance in largest.values()]

"""What every dataset gives: an Arrow table of pairs, one row a pair, and the folder its images are in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property, wraps
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from peftcorr.data.guard import TEST, require_open
from peftcorr.data.hold_out import HeldOut, HoldOut, held_out
from peftcorr.data.pair_dataset import Exif
from peftcorr.data.pair_dataset import PairDataset as PairDataset
from peftcorr.data.splits import SPLITS
from peftcorr.errors import PeftCorrError, shown

FACTORS = ("viewpoint_variation", "scale_variation", "truncation", "occlusion")  # what makes a pair hard


Progress = Callable[[int, int], None]  # (done, total)


class DatasetSource(ABC):
    """A named dataset: knows its splits and turns one into a `PairDataset`.

    A plugin derives from it and defines `Config`, `splits` and `load`.
    """

    class Config(BaseModel):
        """Options of a recipe's ``dataset`` section."""

        model_config = ConfigDict(extra="forbid", frozen=True)
        exif: Exif = Field(
            default="auto",
            exclude_if=lambda value: (
                value == "auto"
            ),  # what it comes to stands in the annotation that is hashed
            description="frame that turned photographs were annotated in; auto: what sizes and keypoints tell",
        )
        hold_out: HoldOut | None = Field(
            default=None,
            exclude_if=lambda value: value is None,
            description="keypoints and categories that are neither trained nor selected on, and are tested apart",
        )

    needs_root: bool = True
    stray: float = (
        0.01  # share of keypoints that may lie outside of their images, as in publishers' own files
    )

    def __init_subclass__(cls, **options: Any):
        """Let every `load`, a plugin's too, refuse what no run may read.

        That is the test split while a run still trains or selects, keypoints outside of their images, and in trn and
        val what the option ``hold_out`` keeps from them.
        """
        super().__init_subclass__(**options)
        if "load" in cls.__dict__:
            cls.load = _guarded(cls.load)  # type: ignore[method-assign, assignment]

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

    def identity(self) -> dict[str, Any]:
        """Options that tell this dataset from others of its class; a run writes them into its recipe.

        Raises:
            PeftCorrError: as `load`.
        """
        return {}

    @cached_property
    def held_out(self) -> HeldOut | None:
        """What the option ``hold_out`` comes to; None without it.

        The names are those of the trn split; where there is none, of the val split, and without both of test. Of
        categories that trn does not have, val has its own.

        Raises:
            PeftCorrError: as `load`, or if the dataset has none of a name, keypoints have no names (`names_landmarks`),
                or nothing would be left.
        """
        option: HoldOut | None = getattr(
            self.config, "hold_out", None
        )  # a plugin's options may be a class of its own
        if option is None:
            return None
        from peftcorr.data.without import (
            keypoint_names,  # which brings what a renderer's process does without
        )

        there = self.splits()
        first = next((split for split in SPLITS if split in there), SPLITS[0])
        selected = keypoint_names(self.unchecked("val")) if "val" in there and first != "val" else None
        landmarks = all(self.names_landmarks(split) for split in there)
        return held_out(option, keypoint_names(self.unchecked(first)), self.name, selected, landmarks)

    def names_landmarks(self, split: str) -> bool:
        """Whether ``keypoint_ids`` are one name for one landmark in all pairs of a category, and in other splits.

        Where they are not, keypoints cannot be held out.

        Raises:
            PeftCorrError: if what tells it cannot be read.
        """
        return True

    def looked_for(self) -> str:
        """Where `splits` looks, and what lies there instead, in one sentence; empty where a class does not say."""
        return ""

    def keypoints_at(self, split: str, side: str, pair: str, image: str) -> str:
        """File and field that the keypoints of one image in a pair stand in; empty where a class does not say.

        Args:
            split: of the pair.
            side: ``source`` or ``target``, which the image is.
            pair: its ``pair_id``.
            image: path of the image.
        """
        return ""

    def require_split(self, split: str) -> None:
        """Refuse a split that is not there.

        Raises:
            PeftCorrError: if it is none of `splits`.
        """
        there = self.splits()
        if split not in there:
            sentence = f"{self.name} has no split {shown(split)}: it has {', '.join(there) or 'none'}."
            raise PeftCorrError(f"{sentence} {'' if there else self.looked_for()}".rstrip())

    def unchecked(self, split: str) -> PairDataset:
        """The split as `load` reads it, with what lies outside of the images too: to be looked at, not scored.

        Raises:
            PeftCorrError: as `load`, but for keypoints in a wrong place.
        """
        require_open(split)
        load = type(self).load
        found: PairDataset = getattr(load, "__wrapped__", load)(self, split)
        return found

    def require_name(self, recorded: str | None) -> None:
        """Refuse a folder of another name than the recipe of a record has, if it has one.

        Raises:
            PeftCorrError: if they differ.
        """
        if recorded is not None and recorded != self.name:
            raise PeftCorrError(
                f"The recipe was made for the dataset {shown(recorded)}, but the data root {self.root} holds "
                f"{shown(self.name)}: give the right --data-root."
            )

    @abstractmethod
    def load(self, split: str) -> PairDataset:
        """Read a split, from the Arrow cache when it is there and still true.

        Raises:
            PeftCorrError: if a file is missing or malformed, naming the file and the field.
        """


Load = Callable[[Any, str], PairDataset]


def _guarded(load: Load) -> Load:
    @wraps(load)
    def checked(self: DatasetSource, split: str) -> PairDataset:
        # It needs libraries that a renderer's process does without.
        from peftcorr.data.opening import in_its_frame

        require_open(split)
        found = load(self, split)
        require_open(found.split)  # whatever name it was asked for by
        exif: Exif = getattr(self.config, "exif", "auto")  # a plugin's options may be a class of its own
        found = in_its_frame(found, exif, self.stray, self.cache, self.keypoints_at)
        if found.split == TEST or self.held_out is None:
            return found
        from peftcorr.data.without import without

        return without(found, self.held_out)

    return checked


def given_folder(
    root: Path | None, name: str, needs: Sequence[str] = (), unpacked: Sequence[str] = ()
) -> Path:
    """The folder of the dataset `name`: its data root, or a folder in it.

    Args:
        root: what the user gave.
        name: of the dataset.
        needs: what the folder has in it.
        unpacked: folders that the published archive unpacks to, of which one may lie in the root.

    Raises:
        PeftCorrError: if none was given, it is no folder or lacks what is needed.
    """
    if root is None:
        raise PeftCorrError(f"{name} is read from a folder: give it with --data-root {name}=PATH.")
    if not root.is_dir():
        raise PeftCorrError(f"The data root {root} is not a folder: mend --data-root {name}=PATH.")
    for folder in (root, *(root / inner for inner in unpacked)):
        if all((folder / need).exists() for need in needs):
            return folder
    raise PeftCorrError(f"The data root {root} has no {', '.join(needs)}: mend --data-root {name}=PATH.")

"""Any folder in COCO's keypoint format (Lin et al., 2014, "Microsoft COCO: Common Objects in Context") as pairs.

annotations/<trn|val|test>.json           images, annotations, categories
images/<file_name>
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from peftcorr.data.arrow import stamp
from peftcorr.data.layouts.annotated_folder import AnnotatedFolder
from peftcorr.data.layouts.coco_annotation import read_annotation
from peftcorr.data.layouts.instance import Annotation
from peftcorr.data.splits import SPLITS, WORDS, listed, place_of_split, words

_LOADER = "coco-2"  # raise it when the reader gives other values for the same files
SPLIT = "{split}"
CASES = (str.lower, str.capitalize)  # of a split's name: one tool lets people choose it


def _text(pattern: object) -> object:
    if isinstance(pattern, dict):  # as YAML takes {split}
        raise ValueError("YAML takes braces for a mapping: put quotes round it, like '{split}'")
    return pattern


def inside(pattern: str) -> str:
    """Refuse a path that leaves the data root (for pydantic's ``AfterValidator``)."""
    path = PurePosixPath(pattern)
    if path.is_absolute() or ".." in path.parts or "\0" in pattern:
        raise ValueError("it must be a path inside the data root")
    return pattern


Pattern = Annotated[str, BeforeValidator(_text), AfterValidator(inside)]


class Coco(AnnotatedFolder):
    """Any folder in COCO's keypoint format, pairs drawn from a seed.

    An annotation is read as the common labelling tools write it. It is one file a split, where `annotations` holds
    ``{split}``, or one for all, which `peftcorr data split` divides.
    """

    class Config(AnnotatedFolder.Config):
        """Options of a folder in COCO's keypoint format."""

        annotations: Pattern = Field(
            default="annotations/{split}.json",
            description="a file, or one a split: '{split}' is trn (train), val (valid, validation, dev) or test",
        )
        images: Pattern = Field(default="images", description="folder; may hold '{split}' too")

    config: Config
    registered = "coco"

    def looked_for(self) -> str:
        """The files of the option ``annotations``; JSON files that are there instead."""
        there = listed([*self.place.glob("*.json"), *self.place.glob("*/*.json")], self.place)
        called = f" ({words()})" if SPLIT in self.config.annotations else ""
        return (
            f"Annotation is {self.place}/{self.config.annotations}{called}; there is {there or 'no JSON file'} "
            f"instead: peftcorr data split {self.place} says which options read it."
        )

    def own_splits(self) -> list[str]:
        """Splits that have an annotation file of their own."""
        if SPLIT not in self.config.annotations:
            return []
        return [split for split in SPLITS if self._place(split)[0].is_file()]

    def is_annotated(self) -> bool:
        """Whether one file for all splits is there."""
        return SPLIT not in self.config.annotations and self._place("test")[0].is_file()

    def read(self, split: str | None = None) -> Annotation:
        """Read the file of a split, or the one for all."""
        return read_annotation(self.annotation(split or "test"))

    def stamp(self, split: str) -> str:
        """Hash of the options, the lists of splits and of the annotation file's name, size and time."""
        path, images = self._place(split)
        layout = f"{self.config.of_table()}\0{images}\0".encode() + self.dividing()
        return stamp(_LOADER, layout, [path.parent], path.name)

    def annotation(self, split: str) -> Path:
        """The file of the option ``annotations``."""
        return self._place(split)[0]

    def image_root(self, split: str) -> Path:
        """The folder of the option ``images``."""
        return self._place(split)[1]

    def _place(self, split: str) -> tuple[Path, Path]:
        """Annotation file and image folder of a split; the first that it may be called where no file is there."""
        named = next(filter(None, (self._named(split, case) for case in CASES)), None)
        word, path = named or (WORDS[split][0], self._with(self.config.annotations, WORDS[split][0]))
        return path, self._with(self.config.images, word)

    def _named(self, split: str, case: Callable[[str], str]) -> tuple[str, Path] | None:
        """What a split is called in one case of letters, and its file, where that is there."""
        if SPLIT not in self.config.annotations:
            return None
        found = place_of_split(split, lambda word: self._with(self.config.annotations, case(word)))
        return None if found is None else (case(found[0]), found[1])

    def _with(self, pattern: str, word: str) -> Path:
        return self.place / pattern.replace(SPLIT, word)

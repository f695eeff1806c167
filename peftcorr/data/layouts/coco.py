"""Any folder in COCO's keypoint format (Lin et al., 2014, "Microsoft COCO: Common Objects in Context") as pairs.

annotations/<trn|val|test>.json           images, annotations, categories
images/<file_name>
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from peftcorr.data.arrow import stamp
from peftcorr.data.base import Progress, given_folder
from peftcorr.data.layouts.coco_annotation import Instance, read_instances
from peftcorr.data.layouts.drawn_source import DrawnPair, DrawnSource
from peftcorr.data.layouts.pair_draw import sharing, some, stream
from peftcorr.data.splits import SPLITS, WORDS, listed, place_of_split, words
from peftcorr.errors import PeftCorrError, shown

_LOADER = "coco-1"  # raise it when the reader gives other values for the same files
_MOST_IMAGES = 2048  # of one group that are paired with each other; of more, this many are drawn first
_MOST_PAIRS = 1_000_000  # of one group without the option `pairs`


def _text(pattern: object) -> object:
    if isinstance(pattern, dict):  # as YAML takes {split}
        raise ValueError("YAML takes braces for a mapping: put quotes round it, like '{split}'")
    return pattern


def _inside(pattern: str) -> str:
    path = PurePosixPath(pattern)
    if path.is_absolute() or ".." in path.parts or "\0" in pattern:
        raise ValueError("it must be a path inside the data root")
    return pattern


def _of_split(pattern: str) -> str:
    if "{split}" not in pattern:
        raise ValueError("it must hold '{split}', like 'annotations/person_keypoints_{split}2017.json'")
    return pattern


_Pattern = Annotated[str, BeforeValidator(_text), AfterValidator(_inside)]


class Coco(DrawnSource):
    """Any folder in COCO's keypoint format, pairs drawn from a seed.

    The dataset carries the folder's own name. Inside a category, and with `within` inside a supercategory or the whole
    file, all ordered pairs of two images that share enough keypoints (v > 0) are taken, or `pairs` of them. An image
    is there with its largest object that is no crowd. Keypoints are the same where their names are.
    """

    class Config(DrawnSource.Config):
        """Options of a folder in COCO's keypoint format."""

        annotations: Annotated[_Pattern, AfterValidator(_of_split)] = Field(
            default="annotations/{split}.json",
            description="'{split}' is trn (train), val (valid, validation, dev) or test",
        )
        images: _Pattern = Field(default="images", description="folder; may hold '{split}' too")
        within: Literal["category", "supercategory", "all"] = Field(
            default="category", description="what both images of a pair are of"
        )
        shared: int = Field(default=3, ge=1, description="keypoints that both images of a pair must have")
        pairs: int | None = Field(default=None, ge=1, description="of each category; null: all")
        folder: str | None = Field(
            default=None, description="name that the data root must have, from a record"
        )

    config: Config
    stray = 0.0

    def __init__(self, config: BaseModel, root: Path | None, cache: Path, progress: Progress | None = None):
        super().__init__(config, root, cache, progress)
        self._folder = given_folder(root, "coco")
        self.shared = self.config.shared
        self.require_name(self.config.folder)

    @property
    def name(self) -> str:
        """The folder's own name, and what was chosen among its pairs: other pairs are another benchmark."""
        options, default = self.config, Coco.Config()
        chosen = [
            f"{key}_{getattr(options, key)}"
            for key in ("within", "shared", "pairs", "seed")
            if getattr(options, key) != getattr(default, key)
        ]
        return "-".join([self._folder.resolve().name, *chosen])

    def splits(self) -> list[str]:
        """Splits that have an annotation file."""
        return [split for split in SPLITS if self._place(split)[0].is_file()]

    def looked_for(self) -> str:
        """The files of the option ``annotations``; JSON files that are there instead."""
        there = listed([*self._folder.glob("*.json"), *self._folder.glob("*/*.json")], self._folder)
        return (
            f"Annotation is {self._folder}/{self.config.annotations} ({words()}); there is {there or 'no JSON file'} "
            "instead: say where it lies with --set 'dataset.annotations={split}/NAME.json'."
        )

    def identity(self) -> dict[str, Any]:
        """The folder's name and the checksum of each split's list of pairs."""
        return {"folder": self.name, **super().identity()}

    def stamp(self, split: str) -> str:
        """Hash of the options and of the annotation file's name, size and time."""
        path, images = self._place(split)
        options = self.config.model_dump_json(exclude={"folder", "pair_lists"})
        return stamp(_LOADER, f"{options}\0{images}".encode(), [path.parent], path.name)

    def annotation(self, split: str) -> Path:
        """The file of the option ``annotations``."""
        return self._place(split)[0]

    def image_root(self, split: str) -> Path:
        """The folder of the option ``images``."""
        return self._place(split)[1]

    def drawn(self, split: str) -> list[DrawnPair]:
        """All pairs, or `pairs` of each group drawn from the seed; groups by name, images by path."""
        path = self.annotation(split)
        options = self.config
        pairs: list[DrawnPair] = []
        for name, members in _groups(read_instances(path), options.within):
            enough = [member for member in members if len(member.keypoints) >= options.shared]
            kept = some(len(enough), _MOST_IMAGES, stream(options.seed, split, name, "images"))
            enough = [enough[index] for index in kept]
            found = sharing(enough, enough, options.shared)
            found = found[found[:, 0] != found[:, 1]]
            if options.pairs is None and len(found) > _MOST_PAIRS:
                raise PeftCorrError(
                    f"{path}: {shown(name)} has {len(found):,} pairs among {len(enough):,} images alone: choose how "
                    "many are drawn with the option pairs (--set dataset.pairs=1000)."
                )
            chosen = some(len(found), options.pairs, stream(options.seed, split, name, "pairs"))
            pairs += [(name, enough[i], enough[j]) for i, j in found[chosen].tolist()]
        return pairs

    def _place(self, split: str) -> tuple[Path, Path]:
        """Annotation file and image folder of a split; the first that it may be called where no file is there."""
        found = place_of_split(split, lambda word: self._named(self.config.annotations, word))
        word, path = found or (WORDS[split][0], self._named(self.config.annotations, WORDS[split][0]))
        return path, self._named(self.config.images, word)

    def _named(self, pattern: str, word: str) -> Path:
        return self._folder / pattern.replace("{split}", word)


def _groups(instances: Iterable[Instance], within: str) -> list[tuple[str, list[Instance]]]:
    """Objects that may be paired, by the group's name: of each image the largest that is no crowd."""
    largest: dict[str, dict[int, Instance]] = {}
    for instance in instances:
        if not instance.crowd:
            group = largest.setdefault("all" if within == "all" else getattr(instance, within), {})
            known = group.setdefault(instance.image_id, instance)
            group[instance.image_id] = max(known, instance, key=lambda i: i.area)
    return [(name, sorted(group.values(), key=lambda i: i.image)) for name, group in sorted(largest.items())]

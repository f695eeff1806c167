"""MP-100 (Xu et al., "Pose for Everything", ECCV 2022): a hundred categories, of which training and test share none.

annotations/mp100_split<1 to 5>_<train|val|test>.json   COCO's keypoint format
<category>/...                                          as file_name says; or below images/

A split here is of categories: 70 to train on, 10 to select on and 20 to test on, five times over. The photographs come
from thirteen datasets, and who uses them puts them together. No pairs are published: they are drawn from a seed inside
each category, by default as many as the published episodes have queries (200 of 15).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from peftcorr.data.arrow import stamp
from peftcorr.data.layouts.annotated_folder import AnnotatedImages
from peftcorr.data.layouts.coco_annotation import read_annotation
from peftcorr.data.layouts.instance import Annotation
from peftcorr.data.splits import SPLITS, listed

_LOADER = "mp100-1"  # raise it when the reader gives other values for the same files
_WORDS = {"trn": "train", "val": "val", "test": "test"}


class Mp100(AnnotatedImages):
    """MP-100 (Xu et al., 2022): trn, val and test have no category in common.

    The data root is the folder ``mp100`` or the one that it is in. s is the longer side of the target's box.
    """

    class Config(AnnotatedImages.Config):
        """Options of MP-100."""

        split: Literal[1, 2, 3, 4, 5] = Field(
            default=1, description="which of the published splits of the categories"
        )
        shared: int = Field(default=1, ge=1, description="keypoints that both objects of a pair must have")
        pairs: int | None = Field(default=3000, ge=1, description="of each category; null: all")

    config: Config
    registered = "mp100"
    needs = ("annotations",)
    unpacked = ("mp100",)
    telling = ("split", *AnnotatedImages.telling)

    def looked_for(self) -> str:
        """The three files of the split; JSON files that are there instead."""
        there = listed((self.place / "annotations").glob("*.json"), self.place)
        return f"Annotation is {self.annotation('test')} and the like; there is {there or 'no JSON file'} instead."

    def own_splits(self) -> list[str]:
        """Those whose file is there."""
        return [split for split in SPLITS if self.annotation(split).is_file()]

    def is_annotated(self) -> bool:
        """Never: a file is of one split."""
        return False

    def read(self, split: str | None = None) -> Annotation:
        """Read the file of a split."""
        return read_annotation(self.annotation(split or "test"))

    def stamp(self, split: str) -> str:
        """Hash of the options and of the annotation file's name, size and time."""
        path = self.annotation(split)
        layout = f"{self.config.of_table()}\0{self.image_root(split)}".encode()
        return stamp(_LOADER, layout, [path.parent], path.name)

    def annotation(self, split: str) -> Path:
        """The published file of a split."""
        return self.place / "annotations" / f"mp100_split{self.config.split}_{_WORDS[split]}.json"

    def image_root(self, split: str) -> Path:
        """The folder that the categories' folders are in: ``images`` where there is one."""
        inner = self.place / "images"
        return inner if inner.is_dir() else self.place

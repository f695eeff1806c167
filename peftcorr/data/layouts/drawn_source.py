"""What datasets have in common whose pairs are drawn from a seed: a table, and a list of pairs with its checksum."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
from pydantic import Field

from peftcorr.data.arrow import Row, cached_table, told, write_once
from peftcorr.data.base import DatasetSource, PairDataset
from peftcorr.data.image_files import ImageFiles
from peftcorr.data.layouts.instance import Instance
from peftcorr.errors import PeftCorrError, visible
from peftcorr.files.reading import read_text

DrawnPair = tuple[str, Instance, Instance]  # category of the pair, source, target


class DrawnSource(DatasetSource):
    """A dataset whose pairs are drawn from annotated images.

    The pairs of a split are written beside the Arrow cache, one a line: category, source and target with tabs between,
    and the pair's name where an image has several objects. The SHA-256 of that file stands in the recipe of every
    record, and a recipe is refused where the draw gives another list.
    """

    class Config(DatasetSource.Config):
        """Options of a dataset whose pairs are drawn."""

        seed: int = Field(default=0, ge=0, description="of the draw of pairs")
        pair_lists: dict[str, str] | None = Field(
            default=None, description="SHA-256 that each split's list of pairs must have, from a record"
        )

        def of_table(self) -> str:
            """The options that a split's table depends on, for its stamp: not those that are looked at afterwards."""
            return self.model_dump_json(exclude={"exif", "hold_out", "folder", "pair_lists"})

    config: Config
    shared: int  # keypoints that the two images of a pair must have in common
    image_field = "file_name"  # what the annotation calls the name of an image

    @abstractmethod
    def drawn(self, split: str, notes: list[str]) -> list[DrawnPair]:
        """Read the annotation and draw the pairs of a split.

        What it leaves out or makes up it tells in `notes`, a sentence each.

        Raises:
            PeftCorrError: if a file is missing or malformed, naming the file and the field.
        """

    @abstractmethod
    def stamp(self, split: str) -> str:
        """Hash of all that decides the pairs of a split, without reading the annotation."""

    @abstractmethod
    def annotation(self, split: str) -> Path:
        """File or folder that the split's annotation is in."""

    @abstractmethod
    def image_root(self, split: str) -> Path:
        """Folder that the split's images are in."""

    def identity(self) -> dict[str, Any]:
        """The checksum of each split's list of pairs."""
        return {"pair_lists": {split: self._list(split)[1] for split in self.splits()}}

    def keypoints_at(self, split: str, side: str, pair: str, image: str) -> str:
        """The annotation of the split."""
        return f"{self.annotation(split)}: keypoints"

    def load(self, split: str) -> PairDataset:
        """Read or draw a split; s is the longer side of the target's annotated box.

        Raises:
            PeftCorrError: if a file is missing or malformed, or the pairs are not those that the recipe was made for.
        """
        self.require_split(split)
        text, checksum = self._list(split)
        if not text:
            raise PeftCorrError(
                f"{self.annotation(split)}: {self.name} has no {split} pair, since no two images that it would "
                f"pair have {self.shared} annotated keypoints in common."
            )
        write_once(self.cache / "pair_lists", self.name, f"-{split}-{checksum[:12]}.tsv", text)
        notes = tuple(self.notes(split))
        return PairDataset(self.name, split, self.image_root(split), self._table(split), notes)

    def notes(self, split: str) -> list[str]:
        """What was left out or made up when the table of a split was made, a sentence each.

        Raises:
            PeftCorrError: as `load`.
        """
        self._table(split)
        path = self._notes_path(split)
        return read_text(path).splitlines() if path.is_file() else []

    def _table(self, split: str) -> datasets.Dataset:
        assert self.root is not None
        return cached_table(self, self.root, split, self.stamp(split), lambda: self._rows(split))

    def _list(self, split: str) -> tuple[bytes, str]:
        """The pairs of a split, one a line (none if there is no pair), and the checksum that the recipe agrees to."""
        table = self._table(split)
        columns = [table[name][:] for name in ("category", "source_image", "target_image", "pair_id")]
        text = "".join(_line(*row) for row in zip(*columns, strict=True)).encode()
        checksum = hashlib.sha256(text).hexdigest()
        expected = (self.config.pair_lists or {}).get(split, checksum)
        if expected != checksum:
            raise PeftCorrError(
                f"The recipe was made for a {split} list of pairs with the checksum {expected[:12]}, but what "
                f"{self.root} gives has {checksum[:12]}: give the right --data-root and the same options."
            )
        return text, checksum

    def _rows(self, split: str) -> Iterator[Row]:
        notes: list[str] = []
        pairs, files = self.drawn(split, notes), ImageFiles(self.image_root(split))
        for image in sorted({instance.image for _, *both in pairs for instance in both}):
            if problem := files.missing(image):
                raise PeftCorrError(f"{self.annotation(split)}: {self.image_field} {problem}")
        path = self._notes_path(split)
        write_once(path.parent, path.name, "", "".join(f"{visible(note)}\n" for note in notes).encode())
        for pair in told(pairs, self.progress):
            yield _row(*pair)

    def _notes_path(self, split: str) -> Path:
        return self.cache / "notes" / f"{split}-{self.stamp(split)}.txt"


def _line(category: str, source: str, target: str, pair: str) -> str:
    """A pair as its list has it."""
    named = () if pair == _pair_id(category, source, target) else (pair,)
    return "\t".join((category, source, target, *named)) + "\n"


def _pair_id(category: str, source: str, target: str) -> str:
    return f"{source}-{target}:{category}"


def _row(category: str, source: Instance, target: Instance) -> Row:
    names = [name for name in source.keypoints if name in target.keypoints]
    x1, y1, x2, y2 = target.box
    return {
        "pair_id": _pair_id(category, source.label, target.label),
        "category": category,
        "source_image": source.image,
        "target_image": target.image,
        "source_size": source.size,
        "target_size": target.size,
        "source_keypoints": [source.keypoints[name] for name in names],
        "target_keypoints": [target.keypoints[name] for name in names],
        "keypoint_ids": names,
        "source_box": source.box,
        "target_box": target.box,
        "reference_length": max(x2 - x1, y2 - y1),
    }

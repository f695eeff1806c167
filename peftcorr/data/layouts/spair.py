"""SPair-71k (Min et al., 2019, arXiv:1908.10543) and any other folder in its layout.

JPEGImages/<category>/<name>.jpg
PairAnnotation/<trn|val|test>/<pair>.json
Layout/<large|small>/<split>.txt          one pair a line
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from peftcorr.data.arrow import Columns, cached_table, scan, stamp
from peftcorr.data.base import DatasetSource, PairDataset, Progress
from peftcorr.data.columns import PAIR_FEATURES
from peftcorr.data.image_files import ImageFiles
from peftcorr.data.layouts.fields import single_name
from peftcorr.data.layouts.spair_annotation import PairAnnotation, read_annotation
from peftcorr.errors import PeftCorrError

SPLITS = ("trn", "val", "test")
_LOADER = "spair-1"  # raise it when the reader gives other values for the same files
_BLOCK = 4096  # pairs parsed between two writes


class SpairFolder(DatasetSource):
    """Any folder in SPair-71k's layout.

    The dataset carries the folder's own name.
    """

    class Config(DatasetSource.Config):
        """Options of a folder in SPair-71k's layout."""

        layout: Literal["large", "small"] = Field(
            default="large", description="which of the published lists of pairs"
        )
        folder: str | None = Field(
            default=None, description="name that the data root must have, from a record"
        )

    def __init__(self, config: BaseModel, root: Path | None, cache: Path, progress: Progress | None = None):
        super().__init__(config, root, cache, progress)
        self._folder = _existing_root(root, self.archive_folder)
        assert isinstance(config, SpairFolder.Config)
        if config.folder is not None and config.folder != self.name:
            raise PeftCorrError(
                f"The recipe was made for the dataset {config.folder!r}, but the data root {root} holds "
                f"{self.name!r}: give the right --data-root."
            )

    archive_folder: str | None = None  # folder inside `root` that the published archive unpacks to

    @property
    def layout(self) -> str:
        """``large`` or ``small``: which of the published lists of pairs is used."""
        assert isinstance(self.config, SpairFolder.Config)
        return self.config.layout

    @property
    def name(self) -> str:
        """The folder's own name; the small list is another benchmark, so its name says so."""
        return self._with_layout(self._folder.resolve().name)

    def _with_layout(self, name: str) -> str:
        return name if self.layout == "large" else f"{name}-{self.layout}"

    def splits(self) -> list[str]:
        """Splits that have a layout file."""
        return [split for split in SPLITS if self._layout_file(split).is_file()]

    def identity(self) -> dict[str, Any]:
        """The folder's name."""
        return {"folder": self.name}

    def load(self, split: str) -> PairDataset:
        """Read a split; the reference length s is the longer side of the target's bounding box.

        Raises:
            PeftCorrError: if a file is missing or malformed, naming the file and the field.
        """
        reader = _SplitReader(self._folder, split, self._layout_bytes(split), self._layout_file(split))
        table = cached_table(
            self.cache,
            self.name,
            self._folder,
            split,
            reader.stamp(),
            lambda: reader.blocks(self.progress),
        )
        return PairDataset(self.name, split, self._folder / "JPEGImages", table)

    def _layout_file(self, split: str) -> Path:
        return self._folder / "Layout" / self.layout / f"{split}.txt"

    def _layout_bytes(self, split: str) -> bytes:
        path = self._layout_file(split)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            there = self.splits()
            raise PeftCorrError(
                f"{self._folder} has no {path.relative_to(self._folder)}: its splits of layout "
                f"{self.layout!r} are {', '.join(there) or 'none'}."
            ) from None
        except OSError as error:
            raise PeftCorrError(f"Cannot read {path}: {error.strerror or error}.") from error


class Spair71k(SpairFolder):
    """SPair-71k (Min et al., 2019), as published.

    The data root is its folder or the one it was unpacked in.
    """

    archive_folder = "SPair-71k"

    @property
    def name(self) -> str:
        """``spair71k``, or ``spair71k-small`` with the small layout."""
        return self._with_layout("spair71k")


class _SplitReader:
    """Reads the pairs that one layout file lists."""

    def __init__(self, root: Path, split: str, layout: bytes, layout_file: Path):
        self.root = root
        self.layout = layout
        self.layout_file = layout_file
        self.annotations = root / "PairAnnotation" / split

    def stamp(self) -> str:
        """Hash of the layout file and of every annotation file's name, size and time."""
        return stamp(_LOADER, self.layout, [self.annotations], ".json")

    def pair_names(self) -> list[str]:
        """Names in the layout file, in its order, each with an annotation file."""
        try:
            lines = self.layout.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise PeftCorrError(f"{self.layout_file} is not UTF-8 text (byte {error.start}).") from error
        there = {entry.name for entry in scan(self.annotations)}
        first: dict[str, int] = {}
        for number, line in enumerate(lines, start=1):
            name = line.strip()
            if not name:
                continue
            where = f"{self.layout_file}, line {number}"
            if name in first:
                raise PeftCorrError(
                    f"{where}: the pair {name!r} is on line {first[name]} already; remove one."
                )
            if problem := single_name(name):
                raise PeftCorrError(f"{where}: the pair name {problem}.")
            if f"{name}.json" not in there:
                raise PeftCorrError(f"{where}: there is no annotation {self.annotations / f'{name}.json'}.")
            first[name] = number
        if not first:
            raise PeftCorrError(f"{self.layout_file} lists no pair.")
        return list(first)

    def blocks(self, progress: Progress | None) -> Iterator[Columns]:
        """Yield the pairs as blocks of columns."""
        names = self.pair_names()
        images = ImageFiles(self.root / "JPEGImages")
        for start in range(0, len(names), _BLOCK):
            columns: dict[str, list[Any]] = {column: [] for column in PAIR_FEATURES}
            for name in names[start : start + _BLOCK]:
                path = self.annotations / f"{name}.json"
                annotation = read_annotation(path)
                _require(images, annotation.category, annotation.src_imname, path, "src_imname")
                _require(images, annotation.category, annotation.trg_imname, path, "trg_imname")
                _append(columns, name, annotation)
            yield columns
            if progress is not None:
                progress(min(start + _BLOCK, len(names)), len(names))


def _append(columns: dict[str, list[Any]], name: str, pair: PairAnnotation) -> None:
    x1, y1, x2, y2 = pair.trg_bndbox
    row = {
        "pair_id": name,
        "category": pair.category,
        "source_image": f"{pair.category}/{pair.src_imname}",
        "target_image": f"{pair.category}/{pair.trg_imname}",
        "source_size": pair.src_imsize[:2],
        "target_size": pair.trg_imsize[:2],
        "source_keypoints": pair.src_kps,
        "target_keypoints": pair.trg_kps,
        "target_occluded": None,
        "keypoint_ids": pair.kps_ids,
        "source_box": pair.src_bndbox,
        "target_box": pair.trg_bndbox,
        "reference_length": max(x2 - x1, y2 - y1),
        "viewpoint_variation": pair.viewpoint_variation,
        "scale_variation": pair.scale_variation,
        "truncation": pair.truncation,
        "occlusion": pair.occlusion,
        "mirror": pair.mirror,
    }
    for column, value in row.items():
        columns[column].append(value)


def _require(images: ImageFiles, category: str, name: str, annotation: Path, field: str) -> None:
    if not images.has_folder(category):
        raise PeftCorrError(f"{annotation}: category {category!r} has no folder {images.root / category}.")
    if problem := images.missing(f"{category}/{name}"):
        raise PeftCorrError(f"{annotation}: {field} {problem}")


def _existing_root(root: Path | None, archive_folder: str | None) -> Path:
    if root is None:
        raise PeftCorrError("This dataset is read from a folder: give it with --data-root [NAME=]PATH.")
    if not root.is_dir():
        raise PeftCorrError(f"The data root {root} is not a folder: mend --data-root [NAME=]PATH.")
    for folder in (root, root / archive_folder) if archive_folder else (root,):
        if (folder / "Layout").is_dir():
            return folder
    raise PeftCorrError(
        f"The data root {root} has no folder Layout; SPair-71k has JPEGImages, PairAnnotation and Layout."
    )

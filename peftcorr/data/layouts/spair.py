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

from peftcorr.data.arrow import Row, cached_table, scan, stamp, told
from peftcorr.data.base import FACTORS, DatasetSource, PairDataset, Progress, given_folder
from peftcorr.data.image_files import ImageFiles
from peftcorr.data.layouts.fields import single_name
from peftcorr.data.layouts.spair_annotation import PairAnnotation, read_annotation
from peftcorr.data.splits import SPLITS, WORDS, listed, place_of_split, words
from peftcorr.errors import PeftCorrError, shown
from peftcorr.files.reading import read_bytes, read_text

_LOADER = "spair-1"  # raise it when the reader gives other values for the same files


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

    config: Config
    stray = 0.0
    archive_folder: str | None = None  # folder inside `root` that the published archive unpacks to
    published_as: str | None = None  # name whatever the folder's is

    def __init__(self, config: BaseModel, root: Path | None, cache: Path, progress: Progress | None = None):
        super().__init__(config, root, cache, progress)
        inner = () if self.archive_folder is None else (self.archive_folder,)
        self._folder = given_folder(root, self.published_as or "pairs", ("Layout",), inner)
        self._images = ImageFiles(self._folder / "JPEGImages")
        self.require_name(self.config.folder)

    @property
    def name(self) -> str:
        """The published name or the folder's own; the small list is another benchmark, so its name says so."""
        name = self.published_as or self._folder.resolve().name
        return name if self.config.layout == "large" else f"{name}-{self.config.layout}"

    def splits(self) -> list[str]:
        """Splits that have a layout file."""
        return [split for split in SPLITS if self._layout_file(split) is not None]

    def looked_for(self) -> str:
        """The lists of the option `layout`; those that are there instead."""
        layout, folder = self.config.layout, self._folder / "Layout"
        there = list(folder.glob("*/*.txt"))
        other = next((path.parent.name for path in there if path.parent.name in ("large", "small")), None)
        if other not in (None, layout):
            instead = f"Layout/{other} is there: --set dataset.layout={other}"
        else:
            instead = f"there is {listed(there, self._folder) or 'no list'} instead"
        return f"Lists are {folder / layout}/<split>.txt ({words()}); {instead}."

    def identity(self) -> dict[str, Any]:
        """The folder's name."""
        return {"folder": self.name}

    def keypoints_at(self, split: str, side: str, pair: str, image: str) -> str:
        """The pair's annotation file."""
        return f"{self._annotations(split) / pair}.json: {'src' if side == 'source' else 'trg'}_kps"

    def load(self, split: str) -> PairDataset:
        """Read a split; the reference length s is the longer side of the target's bounding box.

        Raises:
            PeftCorrError: if a file is missing or malformed, naming the file and the field.
        """
        self.require_split(split)
        found = self._layout_file(split)
        assert found is not None
        layout, annotations = found[1], self._annotations(split)
        table = cached_table(
            self,
            self._folder,
            split,
            stamp(_LOADER, read_bytes(layout), [annotations], ".json"),
            lambda: self._rows(layout, annotations),
        )
        return PairDataset(self.name, split, self._images.root, table)

    def _annotations(self, split: str) -> Path:
        """The folder of a split's annotation: called as its list is, or by another of the split's words."""
        found = self._layout_file(split)
        names = [*([] if found is None else [found[0]]), *WORDS[split]]
        folders = [self._folder / "PairAnnotation" / name for name in names]
        return next((folder for folder in folders if folder.is_dir()), folders[0])

    def _layout_file(self, split: str) -> tuple[str, Path] | None:
        folder = self._folder / "Layout" / self.config.layout
        return place_of_split(split, lambda word: folder / f"{word}.txt")

    def _pairs(self, layout: Path, annotations: Path) -> list[str]:
        """Names of the pairs, each with an annotation file."""
        there = {entry.name for entry in scan(annotations)}
        names = pair_names(layout)
        for number, name in names.items():
            if f"{name}.json" not in there:
                raise PeftCorrError(
                    f"{layout}, line {number}: there is no annotation {annotations / f'{name}.json'}."
                )
        return list(names.values())

    def _rows(self, layout: Path, annotations: Path) -> Iterator[Row]:
        for name in told(self._pairs(layout, annotations), self.progress):
            path = annotations / f"{name}.json"
            pair = read_annotation(path)
            folder = self._images.root / pair.category
            if not self._images.has_folder(pair.category):
                raise PeftCorrError(f"{path}: category {shown(pair.category)} has no folder {folder}.")
            for field in ("src_imname", "trg_imname"):
                if problem := self._images.missing(f"{pair.category}/{getattr(pair, field)}"):
                    raise PeftCorrError(f"{path}: {field} {problem}")
            yield _row(name, pair)


class Spair71k(SpairFolder):
    """SPair-71k (Min et al., 2019), as published.

    The data root is its folder or the one it was unpacked in.
    """

    archive_folder = "SPair-71k"
    published_as = "spair71k"
    stray = 0.01


def pair_names(layout: Path) -> dict[int, str]:
    """Names in a layout file by the number of their lines, in its order.

    Raises:
        PeftCorrError: if there is none, or one is no name of a file or stands there twice.
    """
    first: dict[str, int] = {}
    for number, line in enumerate(read_text(layout).splitlines(), start=1):
        name = line.strip()
        if not name:
            continue
        where = f"{layout}, line {number}"
        if name in first:
            raise PeftCorrError(
                f"{where}: the pair {shown(name)} is on line {first[name]} already; remove one."
            )
        if problem := single_name(name):
            raise PeftCorrError(f"{where}: the pair name {problem}.")
        first[name] = number
    if not first:
        raise PeftCorrError(f"{layout} lists no pair.")
    return {number: name for name, number in first.items()}


def _row(name: str, pair: PairAnnotation) -> Row:
    x1, y1, x2, y2 = pair.trg_bndbox
    return {
        "pair_id": name,
        "category": pair.category,
        "source_image": f"{pair.category}/{pair.src_imname}",
        "target_image": f"{pair.category}/{pair.trg_imname}",
        "source_size": pair.src_imsize[:2],
        "target_size": pair.trg_imsize[:2],
        "source_keypoints": pair.src_kps,
        "target_keypoints": pair.trg_kps,
        "keypoint_ids": pair.kps_ids,
        "source_box": pair.src_bndbox,
        "target_box": pair.trg_bndbox,
        "reference_length": max(x2 - x1, y2 - y1),
        **{name: getattr(pair, name) for name in (*FACTORS, "mirror")},
    }

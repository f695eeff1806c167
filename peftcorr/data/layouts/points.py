"""Any folder of photographs with a table of keypoints: ``points.csv``, or those of a DeepLabCut project."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from pydantic import Field

from peftcorr.data.arrow import stamp
from peftcorr.data.layouts.annotated_folder import AnnotatedFolder
from peftcorr.data.layouts.coco import Pattern
from peftcorr.data.layouts.csv_file import read_table
from peftcorr.data.layouts.deeplabcut import is_collected, read_collected
from peftcorr.data.layouts.instance import Annotation, numbered
from peftcorr.data.layouts.points_table import DELIMITERS, Table, read_points
from peftcorr.data.splits import SPLITS, listed
from peftcorr.errors import PeftCorrError, reason

_LOADER = "points-2"  # raise it when the reader gives other values for the same files
_COLLECTED = "CollectedData_*.csv"
TABLES = ("points.csv", f"labeled-data/*/{_COLLECTED}", f"*/{_COLLECTED}", _COLLECTED)
_IMAGES = (".", "images")


class Points(AnnotatedFolder):
    """Any folder with a table of keypoints, pairs drawn from a seed.

    The data root holds ``points.csv``, one keypoint a row, or is a DeepLabCut project. Tables have no boxes: s is the
    longer side of the box round an object's keypoints.
    """

    class Config(AnnotatedFolder.Config):
        """Options of a folder with a table of keypoints."""

        table: Pattern | None = Field(
            default=None,
            description="a CSV file, or several by a pattern with *; null: points.csv, else DeepLabCut's",
        )
        images: Pattern | None = Field(
            default=None,
            description="folder that the table's images are in; null: the data root, else images",
        )

    config: Config
    registered = "points"
    image_field = "image"

    def looked_for(self) -> str:
        """The files of the option ``table``; CSV files that are there instead."""
        there = listed([*self.place.glob("*.csv"), *self.place.glob("*/*.csv")], self.place)
        tables = " or ".join(TABLES) if self.config.table is None else self.config.table
        return (
            f"Keypoints are in {self.place}/{tables}; there is {there or 'no CSV file'} instead: say where with --set "
            "dataset.table=NAME.csv."
        )

    def own_splits(self) -> list[str]:
        """Splits that a column tells."""
        found = set(self._content.splits.values())
        return [split for split in SPLITS if split in found]

    def is_annotated(self) -> bool:
        """Whether a table is there."""
        return bool(self._paths)

    def read(self, split: str | None = None) -> Annotation:
        """The objects of a split, or all."""
        table = self._content
        found = [i for i in table.instances() if split is None or table.splits.get(i.image) == split]
        notes = []
        if (empty := sum(not points for points in table.points.values())) and split is None:
            notes.append(f"{empty:,} of {len(table.points):,} objects have no keypoints and are left out.")
        if found:
            notes.append("a table has no boxes: s is the longer side of the box round an object's keypoints.")
        where = self.annotation(split or "test")
        return Annotation(numbered(found), [f"{where}: {note}" for note in notes])

    def stamp(self, split: str) -> str:
        """Hash of the options, the lists of splits and the tables' names, sizes and times."""
        files = [(self._below(path), (s := path.stat()).st_size, s.st_mtime_ns) for path in self._paths]
        layout = f"{self.config.of_table()}\0{files}\0".encode()
        return stamp(_LOADER, layout + self.dividing(), [])

    def annotation(self, split: str) -> Path:
        """The table; the folder where there are several."""
        return self._paths[0] if len(self._paths) == 1 else self.place

    def image_root(self, split: str) -> Path:
        """The folder of the option ``images``, or where the first image of the table is."""
        if self.config.images is not None:
            return self.place / self.config.images
        first = next((image for image, _, _ in self._content.points), "")
        places = [self.place / name for name in _IMAGES]
        return next((place for place in places if (place / first).is_file()), places[0])

    @cached_property
    def _paths(self) -> list[Path]:
        patterns = TABLES if self.config.table is None else (self.config.table,)
        try:
            found = (sorted(path for path in self.place.glob(p) if path.is_file()) for p in patterns)
            return next(filter(None, found), [])
        except (ValueError, NotImplementedError, OSError) as error:
            raise PeftCorrError(f"The option table is no pattern of files ({reason(error)}).") from error

    @cached_property
    def _content(self) -> Table:
        table = Table()
        for path in self._paths:
            delimiter, rows = read_table(path, DELIMITERS)
            comma = delimiter != ","
            if is_collected(rows):
                read_collected(table, path, Path(self._below(path)).parent.as_posix(), rows, comma)
            elif rows:
                read_points(table, path, rows, comma)
            else:
                raise PeftCorrError(f"{path} lists no keypoint.")
        return table

    def _below(self, path: Path) -> str:
        return path.relative_to(self.place).as_posix()

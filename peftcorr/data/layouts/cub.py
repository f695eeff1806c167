"""CUB-200-2011 (Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset", CNS-TR-2011-001): 200 species, 15 parts.

images.txt              image id, path below images/
image_class_labels.txt  image id, class id
classes.txt             class id, name
train_test_split.txt    image id, 1 (train) or 0 (test)
bounding_boxes.txt      image id, x, y, width, height
parts/parts.txt         part id, name
parts/part_locs.txt     image id, part id, x, y, visible
images/<class>/<name>.jpg

Coordinates are taken as they stand there. Parts that are not visible have no place. It has no validation split, and no
pairs: they are drawn from a seed, of a species each, or of any two birds with ``within: supercategory``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from peftcorr.data.arrow import stamp
from peftcorr.data.layouts.annotated_folder import AnnotatedImages
from peftcorr.data.layouts.coco_annotation import inner_path, label
from peftcorr.data.layouts.fields import LARGEST
from peftcorr.data.layouts.instance import Annotation, Box, Instance, Point, has_extent
from peftcorr.errors import PeftCorrError, shown
from peftcorr.files.reading import read_text

_LOADER = "cub-1"  # raise it when the reader gives other values for the same files
_FILES = (
    "images.txt", "image_class_labels.txt", "classes.txt", "train_test_split.txt", "bounding_boxes.txt",
    "parts/parts.txt", "parts/part_locs.txt",
)  # fmt: skip
_LOCATIONS = "parts/part_locs.txt"
T = TypeVar("T")
_TRAINED = {"trn": "1", "test": "0"}


class Cub(AnnotatedImages):
    """CUB-200-2011 (Wah et al., 2011): the visible parts of birds.

    The data root is the folder ``CUB_200_2011`` or the one that it was unpacked in. s is the longer side of the
    target's box.
    """

    class Config(AnnotatedImages.Config):
        """Options of CUB-200-2011."""

        pairs: int | None = Field(default=100, ge=1, description="of each species; null: all")

    config: Config
    registered = "cub"
    needs = _FILES
    unpacked = ("CUB_200_2011",)
    image_field = "images.txt"

    def own_splits(self) -> list[str]:
        """``trn`` and ``test``."""
        return list(_TRAINED)

    def is_annotated(self) -> bool:
        """Never: its own list tells the splits."""
        return False

    def read(self, split: str | None = None) -> Annotation:
        """The birds of a split, or all."""
        wanted = None if split is None else _TRAINED[split]
        columns = {
            file: dict(self._lines(file, 2)) for file in ("train_test_split.txt", "image_class_labels.txt")
        }
        species, keypoints = self._names("classes.txt"), self._keypoints()
        boxes = {number: self._box(number, cells) for number, *cells in self._lines("bounding_boxes.txt", 5)}
        found = []
        for number, path in self._lines("images.txt", 2):
            trained, kind = (self._found(file, "image", known, number) for file, known in columns.items())
            if wanted not in (None, trained):
                continue
            box = self._found("bounding_boxes.txt", "image", boxes, number)
            found.append(
                Instance(
                    image=self._image(number, path),
                    image_id=number,
                    size=(),
                    category=self._found("classes.txt", "class", species, kind),
                    supercategory="bird",
                    box=box,
                    area=(box[2] - box[0]) * (box[3] - box[1]),
                    crowd=False,
                    keypoints=keypoints.get(number, {}),
                )
            )
        return Annotation(found)

    def stamp(self, split: str) -> str:
        """Hash of the options and of the annotation files' names, sizes and times."""
        return stamp(_LOADER, self.config.of_table().encode(), [self.place, self.place / "parts"], ".txt")

    def annotation(self, split: str) -> Path:
        """The file that the parts' places are in."""
        return self.place / _LOCATIONS

    def image_root(self, split: str) -> Path:
        """``images``."""
        return self.place / "images"

    def _keypoints(self) -> dict[str, dict[str, Point]]:
        """Places of the visible parts of each image, by their names."""
        parts = self._names("parts/parts.txt")
        found: dict[str, dict[str, Point]] = {}
        for image, part, x, y, visible in self._lines(_LOCATIONS, 5):
            if visible == "1":
                name = self._found("parts/parts.txt", "part", parts, part)
                across, down = self._numbers(_LOCATIONS, [x, y])
                found.setdefault(image, {})[name] = (across, down)
        return found

    def _box(self, number: str, cells: list[str]) -> Box:
        x, y, width, height = self._numbers("bounding_boxes.txt", cells)
        box = (x, y, x + width, y + height)
        if not has_extent(box):
            raise PeftCorrError(
                f"{self.place / 'bounding_boxes.txt'}: the box of image {number} has no size."
            )
        return box

    def _image(self, number: str, path: str) -> str:
        try:
            return inner_path(path)
        except ValueError as error:
            raise PeftCorrError(
                f"{self.place / 'images.txt'}: the path of image {number} {error}."
            ) from error

    def _names(self, file: str) -> dict[str, str]:
        return {number: self._label(file, name) for number, name in self._lines(file, 2)}

    def _lines(self, file: str, columns: int) -> Iterator[list[str]]:
        """The cells of each line; the last one takes what is left, as names of parts have spaces."""
        path = self.place / file
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            if line.strip():
                cells = line.strip().split(maxsplit=columns - 1)
                if len(cells) != columns:
                    raise PeftCorrError(f"{path}, line {number}: {shown(line)} has not {columns} cells.")
                yield cells

    def _numbers(self, file: str, cells: list[str]) -> list[float]:
        try:
            numbers = [float(cell) for cell in cells]
        except ValueError:
            numbers = []
        if not numbers or not all(abs(number) <= LARGEST for number in numbers):
            raise PeftCorrError(f"{self.place / file}: {shown(' '.join(cells))} must be numbers of pixels.")
        return numbers

    def _label(self, file: str, name: str) -> str:
        try:
            return label(name.strip())
        except ValueError as error:
            raise PeftCorrError(f"{self.place / file}: a name {error}.") from error

    def _found(self, file: str, what: str, known: Mapping[str, T], number: str) -> T:
        if number not in known:
            raise PeftCorrError(f"{self.place / file} does not have the {what} {shown(number)}.")
        return known[number]

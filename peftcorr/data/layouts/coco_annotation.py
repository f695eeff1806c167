"""An annotation file in COCO's keypoint format (Lin et al., 2014), checked, as annotated animals, people or things."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from peftcorr.data.layouts.fields import LARGEST, Coordinate, Side, distinct, read_json, single_name
from peftcorr.errors import PeftCorrError, shown

_LONGEST_PATH = 1000  # letters; systems differ in what they take beside the folder's own path
_ABSENT, _VISIBLE = 0, 2  # v of a keypoint: 0 not labelled, 1 labelled but hidden, 2 visible


def _label(name: str) -> str:
    if not name.strip():
        raise ValueError("is empty")
    if not name.isprintable():
        raise ValueError(f"is {shown(name)}; it must be printable text")
    return name


def _inner_path(name: str) -> str:
    parts = name.split("/")
    if any(part.strip() in ("", ".", "..") for part in parts) or "\\" in name:
        raise ValueError(f"is {shown(name)}; it must be a path inside the image folder, like 000001.jpg")
    if problem := next(filter(None, map(single_name, parts)), None):
        raise ValueError(problem)
    if len(name) > _LONGEST_PATH:
        raise ValueError(f"is {shown(name)}, which is too long for a path")
    return str(PurePosixPath(name))


def _triples(values: list[float]) -> list[float]:
    if len(values) % 3:
        raise ValueError(f"has {len(values)} entries; it must have x, y and v of each keypoint")
    wrong = next((v for v in values[2::3] if v not in (_ABSENT, 1, _VISIBLE)), None)
    if wrong is not None:
        raise ValueError(f"has the visibility {wrong:g}; it must be 0, 1 or 2")
    return values


Label = Annotated[str, AfterValidator(_label)]
_Length = Annotated[float, Field(allow_inf_nan=False, ge=0, le=LARGEST)]
_Area = Annotated[float, Field(allow_inf_nan=False, ge=0, le=LARGEST**2)]
_Triples = Annotated[list[Coordinate], AfterValidator(_triples)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _Image(_Part):
    id: int
    file_name: Annotated[str, AfterValidator(_inner_path)]
    width: Side
    height: Side


class _Category(_Part):
    id: int
    name: Label
    supercategory: Label | None = None
    keypoints: Annotated[list[Label], AfterValidator(distinct)] | None = None


class _Annotation(_Part):
    image_id: int
    category_id: int
    bbox: tuple[Coordinate, Coordinate, _Length, _Length]  # x, y of the corner, width, height
    keypoints: _Triples
    area: _Area | None = None
    iscrowd: Literal[0, 1] = 0


class _File(_Part):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


@dataclass(frozen=True)
class Instance:
    """One annotated object in one image.

    Attributes:
        image: POSIX path below the image folder.
        image_id: COCO's number of the image.
        size: (W, H) of the image in pixels.
        category: name of the object's category.
        supercategory: name of the category above it; the category's own where the file has none.
        box: x1, y1, x2, y2 in pixels.
        area: in square pixels; the box's where the file has none.
        crowd: whether the annotation is of a group.
        keypoints: x, y of each keypoint with v > 0, by the name that the category gives it, or by its number.
        hidden: names of those with v = 1, which something covers in the image.
    """

    image: str
    image_id: int
    size: tuple[int, int]
    category: str
    supercategory: str
    box: tuple[float, float, float, float]
    area: float
    crowd: bool
    keypoints: dict[str, tuple[float, float]]
    hidden: frozenset[str] = frozenset()


def read_instances(path: Path) -> list[Instance]:
    """Read the annotated objects of a file, in its order.

    Coordinates are taken as they are: COCO's are pixels counted from 0, as this suite's.

    Raises:
        PeftCorrError: if the file cannot be read or a field is wrong, naming both.
    """
    content = read_json(_File, path)
    for field in ("images.id", "images.file_name", "categories.id", "categories.name"):
        _require_distinct(path, content, *field.split("."))
    images = {image.id: image for image in content.images}
    categories = {category.id: category for category in content.categories}
    found = []
    for number, annotation in enumerate(content.annotations):
        where = f"{path}: annotations.{number}"
        image, category = images.get(annotation.image_id), categories.get(annotation.category_id)
        if image is None or category is None:
            field, there = ("image_id", "image") if image is None else ("category_id", "category")
            raise PeftCorrError(
                f"{where}.{field} is {shown(getattr(annotation, field))}; no {there} has this id."
            )
        found.append(_instance(where, annotation, image, category))
    return found


def _instance(where: str, annotation: _Annotation, image: _Image, category: _Category) -> Instance:
    triples = annotation.keypoints
    names = category.keypoints
    if names is None:
        names = [str(number) for number in range(len(triples) // 3)]
    if len(triples) != 3 * len(names):
        raise PeftCorrError(
            f"{where}.keypoints has {len(triples)} entries; the category {shown(category.name)} names {len(names)} "
            f"keypoints, x, y and v of each are {3 * len(names)}."
        )
    points = list(zip(names, triples[0::3], triples[1::3], triples[2::3], strict=True))
    keypoints = {name: (x, y) for name, x, y, visibility in points if visibility > _ABSENT}
    hidden = frozenset(name for name, _, _, visibility in points if _ABSENT < visibility < _VISIBLE)
    x, y, width, height = annotation.bbox
    box = (x, y, x + width, y + height)
    if keypoints and not (box[2] > x or box[3] > y):  # 0, or too small to be told from it at this place
        raise PeftCorrError(f"{where}.bbox is {list(annotation.bbox)}; the box must have a size.")
    return Instance(
        image=image.file_name,
        image_id=image.id,
        size=(image.width, image.height),
        category=category.name,
        supercategory=category.supercategory or category.name,
        box=box,
        area=width * height if annotation.area is None else annotation.area,
        crowd=bool(annotation.iscrowd),
        keypoints=keypoints,
        hidden=hidden,
    )


def _require_distinct(path: Path, content: _File, parts: str, field: str) -> None:
    seen = set()
    for number, part in enumerate(getattr(content, parts)):
        value = getattr(part, field)
        if value in seen:
            raise PeftCorrError(
                f"{path}: {parts}.{number}.{field} is {shown(value)}, which an earlier one has already."
            )
        seen.add(value)

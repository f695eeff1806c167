"""An annotation file in COCO's keypoint format (Lin et al., 2014), checked, as annotated animals, people or things.

Labelling tools write it in their own ways, all of which are read: sizes as 60.0, ids as text, "./" and backslashes in
names, an empty supercategory, categories that nothing is of, and objects without keypoints, box or place.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator

from peftcorr.data.layouts.fields import LARGEST, Coordinate, Side, distinct, read_json, single_name
from peftcorr.data.layouts.instance import Annotation, Box, Instance, box_round, has_extent, numbered
from peftcorr.errors import PeftCorrError, shown

_LONGEST_PATH = 1000  # letters; systems differ in what they take beside the folder's own path
_ABSENT, _VISIBLE = (
    0,
    2,
)  # v of a keypoint: 0 (of some tools -1) not labelled, 1 labelled but hidden, 2 visible
_NUMBER = re.compile(r"-?[0-9]{1,18}")


def label(name: str) -> str:
    """A name that can be shown, for pydantic's ``AfterValidator``.

    Raises:
        ValueError: if it is none.
    """
    if not name.strip():
        raise ValueError("is empty")
    if not name.isprintable():
        raise ValueError(f"is {shown(name)}; it must be printable text")
    return name


def inner_path(name: str) -> str:
    """The POSIX path of an image below the image folder, for pydantic's ``AfterValidator``.

    Tools on Windows write backslashes, others begin with "./".

    Raises:
        ValueError: if it leaves the folder, or is no path.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part != "."]
    if not parts or any(part.strip() in ("", ".", "..") for part in parts):
        raise ValueError(f"is {shown(name)}; it must be a path inside the image folder, like 000001.jpg")
    if problem := next(filter(None, map(single_name, parts)), None):
        raise ValueError(problem)
    if len(name) > _LONGEST_PATH:
        raise ValueError(f"is {shown(name)}, which is too long for a path")
    return str(PurePosixPath(*parts))


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _id(value: object) -> int | str:
    """An id as a number where it can be one: "7", 7 and 7.0 are the same image."""
    value = _whole(value)
    if isinstance(value, str):
        return int(value) if _NUMBER.fullmatch(value) and str(int(value)) == value else value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"is {shown(value)}; it must be a whole number or text")


def _unless_blank(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _unless_empty(value: object) -> object:
    """A box as a tuple, which strict models want of what is no JSON any more; None for an empty one."""
    return (tuple(value) or None) if isinstance(value, list) else value


def _flag(value: object) -> bool:
    if value not in (0, 1):  # True and False too
        raise ValueError(f"is {shown(value)}; it must be 0 or 1")
    return bool(value)


def _without_nan(value: object) -> object:
    """Keypoints with None for what is no number; None for a list of none."""
    if not isinstance(value, list):
        return value
    return [None if isinstance(part, float) and part != part else part for part in value] or None


def _triples(values: list[float | None] | None) -> list[float | None] | None:
    if values is None:
        return None
    if len(values) % 3:
        raise ValueError(f"has {len(values)} entries; it must have x, y and v of each keypoint")
    for number, (x, y, v) in enumerate(zip(values[0::3], values[1::3], values[2::3], strict=True)):
        if v not in (None, -1, _ABSENT, 1, _VISIBLE):
            raise ValueError(f"has the visibility {v:g}; it must be 0, 1 or 2")
        if v is not None and v > _ABSENT and (x is None or y is None):
            raise ValueError(f"has no place of keypoint {number}, which is visible ({v:g})")
    return values


Label = Annotated[str, AfterValidator(label)]
_Id = Annotated[Any, PlainValidator(_id)]
_Side = Annotated[Side, BeforeValidator(_whole)]
_Length = Annotated[float, Field(allow_inf_nan=False, ge=0, le=LARGEST)]
_Area = Annotated[float, Field(allow_inf_nan=False, ge=0, le=LARGEST**2)]
_Box = Annotated[
    tuple[Coordinate, Coordinate, _Length, _Length] | None, BeforeValidator(_unless_empty)
]  # x, y of the corner, width, height
_Triples = Annotated[list[Coordinate | None] | None, BeforeValidator(_without_nan), AfterValidator(_triples)]
_Names = Annotated[list[Label], AfterValidator(distinct)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _Image(_Part):
    id: _Id
    file_name: Annotated[str, AfterValidator(inner_path)]
    width: _Side | None = None
    height: _Side | None = None


class _Category(_Part):
    id: _Id
    name: Label
    supercategory: Annotated[Label | None, BeforeValidator(_unless_blank)] = None
    keypoints: _Names | None = None


class _Object(_Part):
    image_id: _Id
    category_id: _Id
    bbox: _Box = None
    keypoints: _Triples = None
    area: _Area | None = None
    iscrowd: Annotated[Any, PlainValidator(_flag)] = False
    track_id: Any = None
    attributes: Any = None


class _File(_Part):
    images: list[_Image]
    annotations: list[_Object]
    categories: list[_Category]


def read_annotation(path: Path) -> Annotation:
    """Read the annotated objects of a file, in its order, those of one image numbered where it has several.

    Coordinates are taken as they are: COCO's are pixels counted from 0, as this suite's.

    Raises:
        PeftCorrError: if the file cannot be read or a field is wrong, naming both.
    """
    content = read_json(_File, path)
    used = {annotation.category_id for annotation in content.annotations}
    _require_distinct(path, "images", "id", [image.id for image in content.images])
    _require_distinct(path, "images", "file_name", [image.file_name for image in content.images])
    _require_distinct(path, "categories", "id", [category.id for category in content.categories])
    # Some tools put a root above the categories, of which nothing is and whose name may be one of theirs.
    names = [category.name if category.id in used else None for category in content.categories]
    _require_distinct(path, "categories", "name", names)
    images = {image.id: image for image in content.images}
    categories = {category.id: category for category in content.categories}
    found, boxless = [], 0
    for number, annotation in enumerate(content.annotations):
        where = f"{path}: annotations.{number}"
        image, category = images.get(annotation.image_id), categories.get(annotation.category_id)
        if image is None or category is None:
            field, there = ("image_id", "image") if image is None else ("category_id", "category")
            raise PeftCorrError(
                f"{where}.{field} is {shown(getattr(annotation, field))}; no {there} has this id."
            )
        if annotation.keypoints is not None:
            found.append(_instance(where, annotation, image, category))
            boxless += _box(annotation) is None
    return Annotation(numbered(found), list(_notes(path, len(content.annotations), len(found), boxless)))


def _notes(path: Path, listed: int, found: int, boxless: int) -> list[str]:
    notes = []
    if found < listed:
        notes.append(f"{path}: {listed - found:,} of {listed:,} objects have no keypoints and are left out.")
    if boxless:
        notes.append(
            f"{path}: {boxless:,} of {found:,} objects have no bbox: s is the longer side of the box round their "
            "keypoints."
        )
    return notes


def _box(annotation: _Object) -> Box | None:
    """x, y, width, height; None where there is none: one tool writes four zeros for it."""
    box: Box | None = annotation.bbox
    return None if box is None or not any(box) else box


def _instance(where: str, annotation: _Object, image: _Image, category: _Category) -> Instance:
    triples = annotation.keypoints or []
    names = category.keypoints or [str(number) for number in range(len(triples) // 3)]
    if len(triples) != 3 * len(names):
        raise PeftCorrError(
            f"{where}.keypoints has {len(triples)} entries; the category {shown(category.name)} names {len(names)} "
            f"keypoints, x, y and v of each are {3 * len(names)}."
        )
    points = list(zip(names, triples[0::3], triples[1::3], triples[2::3], strict=True))
    hidden = frozenset(name for name, _, _, v in points if v is not None and _ABSENT < v < _VISIBLE)
    keypoints = {
        name: (x, y)
        for name, x, y, v in points
        if v is not None and v > _ABSENT and x is not None and y is not None
    }
    corner = _box(annotation)
    if corner is None:
        box = box_round(keypoints.values())
    else:
        x, y, width, height = corner
        box = (x, y, x + width, y + height)
        if keypoints and not has_extent(box):  # 0, or too small to be told from it at this place
            raise PeftCorrError(f"{where}.bbox is {list(corner)}; the box must have a size.")
    size = () if image.width is None or image.height is None else (image.width, image.height)
    area = (box[2] - box[0]) * (box[3] - box[1])
    return Instance(
        image=image.file_name,
        image_id=image.id,
        size=size,
        category=category.name,
        supercategory=category.supercategory or category.name,
        box=box,
        area=annotation.area or area,
        crowd=annotation.iscrowd,
        keypoints=keypoints,
        hidden=hidden,
        thing=_thing(annotation),
    )


def _thing(annotation: _Object) -> str:
    """The name of the track that an object is of, where the tool has tracks."""
    attributes = annotation.attributes
    track = attributes.get("track_id") if isinstance(attributes, dict) else annotation.track_id
    return str(track) if isinstance(track, (int, str)) and not isinstance(track, bool) else ""


def _require_distinct(path: Path, parts: str, field: str, values: list[Any]) -> None:
    """Refuse a value that an earlier one has already; None counts as no value."""
    seen = set()
    for number, value in enumerate(values):
        if value in seen:
            raise PeftCorrError(
                f"{path}: {parts}.{number}.{field} is {shown(value)}, which an earlier one has already."
            )
        if value is not None:
            seen.add(value)

"""One annotated object in one image: what readers of annotation give to the draw of pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

Box = tuple[float, float, float, float]
Point = tuple[float, float]


@dataclass(frozen=True)
class Instance:
    """One annotated object in one image.

    Attributes:
        image: POSIX path below the image folder.
        image_id: the file's own number or name of the image.
        size: (W, H) of the image in pixels; empty where the annotation has none.
        category: name of the object's category.
        supercategory: name of the category above it; the category's own where the file has none.
        box: x1, y1, x2, y2 in pixels; round the keypoints where the annotation has none.
        area: in square pixels; the box's where the file has none.
        crowd: whether the annotation is of a group.
        keypoints: x, y of each annotated keypoint, by its name.
        hidden: names of those that something covers in the image, where the annotation tells (v = 1).
        object: tells the objects of one image apart; empty where there is one.
        thing: what is shown, by a name that holds in other images too (a track, a video); empty if nobody says.
    """

    image: str
    image_id: int | str
    size: tuple[int, int] | tuple[()]
    category: str
    supercategory: str
    box: Box
    area: float
    crowd: bool
    keypoints: dict[str, Point]
    hidden: frozenset[str] = frozenset()
    object: str = ""
    thing: str = ""

    @property
    def label(self) -> str:
        """The image, and which of its objects."""
        return f"{self.image}#{self.object}" if self.object else self.image


@dataclass
class Annotation:
    """What a reader found: the objects in the order of the file, and sentences about what it left out or made up."""

    instances: list[Instance]
    notes: list[str] = field(default_factory=list)


def numbered(instances: Sequence[Instance]) -> list[Instance]:
    """The objects, with a number each where an image has several; crowds count as none."""
    of_image = Counter(instance.image for instance in instances if not instance.crowd)
    given: Counter[str] = Counter()
    found = []
    for instance in instances:
        if of_image[instance.image] > 1 and not instance.crowd:
            given[instance.image] += 1
            instance = replace(instance, object=str(given[instance.image]))
        found.append(instance)
    return found


def box_round(points: Iterable[Point]) -> Box:
    """The smallest box that holds the points; of none an empty one at 0, 0."""
    xs, ys = zip(*points, strict=True) if (points := list(points)) else ((0.0,), (0.0,))
    return min(xs), min(ys), max(xs), max(ys)


def has_extent(box: Box) -> bool:
    """Whether a distance can be measured by a box: one of its sides is above 0."""
    return box[2] > box[0] or box[3] > box[1]

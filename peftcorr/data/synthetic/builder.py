"""What a category uses to put an object together: solids, materials, joints and named landmarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from peftcorr.data.synthetic.camera import rotation_about
from peftcorr.data.synthetic.materials import Material, plain_material, random_colour, random_material
from peftcorr.data.synthetic.solids import Array, Shape, Solid

Vector = Array | Sequence[float]  # (3,)
UPRIGHT: Array = np.eye(3)


@dataclass(frozen=True)
class Landmark:
    """A named point of an object.

    Attributes:
        point: (3,) in object coordinates.
        slack: how far the point may lie under the surface that shows it, in object units. A joint inside a
            limb has the limb's radius; a point on the surface has a small value.
    """

    point: Array
    slack: float


@dataclass(frozen=True)
class Category:
    """A kind of object.

    Attributes:
        name: as it appears in file names.
        landmarks: fixed order; the position in it is the keypoint's id.
        build: puts one object together.
        elevation: range of camera elevations in degrees.
        grounded: whether the object stands on a ground plane.
    """

    name: str
    landmarks: tuple[str, ...]
    build: Callable[[Builder], None]
    elevation: tuple[float, float]
    grounded: bool


@dataclass
class Builder:
    """Collects an object's parts. Axes: x forward, y left, z up.

    Attributes:
        shape: source of proportions, always symmetric left to right.
        pose: source of joint angles, drawn per limb.
        articulation: 0 gives the neutral, mirror-symmetric pose; 1 the full range of the joints.
        proportions: 0 gives every object of a category the same proportions; 1 their full range.
    """

    shape: np.random.Generator
    pose: np.random.Generator
    look: np.random.Generator
    articulation: float = 1.0
    proportions: float = 1.0
    solids: list[Solid] = field(default_factory=list)
    landmarks: dict[str, Landmark] = field(default_factory=dict)
    materials: dict[str, Material] = field(default_factory=dict)

    def size(self, low: float, high: float) -> float:
        """A random proportion."""
        middle = (low + high) / 2
        return middle + (float(self.shape.uniform(low, high)) - middle) * self.proportions

    def chance(self, probability: float) -> bool:
        """A random feature of the shape."""
        return bool(self.shape.uniform() < probability)

    def bend(self, degrees: float) -> float:
        """A random joint angle within plus or minus ``degrees``."""
        return float(self.pose.uniform(-degrees, degrees)) * self.articulation

    def paint(self, *slots: str, like: float = 0.55, plain: float = 0.3) -> None:
        """Give each named part a material; with probability ``like`` that of the first."""
        for index, slot in enumerate(slots):
            fresh = random_material(self.look, plain=plain)
            same = self.look.uniform() < like
            self.materials[slot] = self.materials[slots[0]] if index and same else fresh

    def material(self, part: str) -> Material:
        """What a part is made of; a part ``leg/rear`` without a material of its own is like ``leg``."""
        return self.materials.get(part) or self.materials[part.split("/")[0]]

    def colours(self, **parts: tuple[float, float, float]) -> None:
        """Give each part one plain colour, from its least and greatest brightness and its gloss."""
        for slot, (dark, bright, gloss) in parts.items():
            self.materials[slot] = plain_material(random_colour(self.look, (dark, bright)), gloss)

    def mark(self, name: str, point: Vector, slack: float = 0.03) -> None:
        """Name a point."""
        self.landmarks[name] = Landmark(np.asarray(point, dtype=float), slack)

    def solid(
        self,
        shape: Shape,
        axes: Array | Sequence[Vector],
        centre: Vector,
        material: str,
        parameter: float = 1.0,
    ) -> None:
        """A unit shape whose axes become the three vectors ``axes``."""
        matrix = np.stack([np.asarray(axis, dtype=float) for axis in axes], axis=1)
        self.solids.append(Solid(shape, matrix, np.asarray(centre, dtype=float), material, parameter))

    def ellipsoid(self, centre: Vector, half: Vector, material: str, frame: Array = UPRIGHT) -> None:
        """An ellipsoid with half axes ``half`` along the columns of ``frame``."""
        self.solid(Shape.ELLIPSOID, (frame * np.asarray(half)).T, centre, material)

    def ball(self, centre: Vector, radius: float, material: str) -> None:
        """A sphere."""
        self.ellipsoid(centre, (radius, radius, radius), material)

    def box(self, centre: Vector, half: Vector, material: str) -> None:
        """A box with half sides ``half`` along the axes."""
        self.solid(Shape.BOX, np.diag(half), centre, material)

    def rod(self, start: Vector, end: Vector, radius: float, material: str, taper: float = 1.0) -> None:
        """A round rod from ``start`` to ``end`` whose end radius is ``taper`` times the start's."""
        axis = np.subtract(end, start, dtype=float) / 2
        across = _perpendicular(axis)
        third = np.cross(axis, across) / np.linalg.norm(axis)
        self.blade(start, end, radius * across, radius * third, material, taper)

    def blade(
        self, start: Vector, end: Vector, chord: Vector, thickness: Vector, material: str, taper: float = 0.5
    ) -> None:
        """A flat rod with an elliptic section of half axes ``chord`` and ``thickness``: a wing, a fin."""
        axes = (chord, thickness, np.subtract(end, start, dtype=float) / 2)
        self.solid(Shape.FRUSTUM, axes, np.add(start, end, dtype=float) / 2, material, taper)

    def wheel(
        self, centre: Vector, axle: Array, radius: float, half_width: float, hole: float, material: str
    ) -> None:
        """A tube about the unit vector ``axle``; ``hole`` is a share of the radius."""
        across = _perpendicular(axle)
        axes = (radius * across, radius * np.cross(axle, across), half_width * axle)
        self.solid(Shape.TUBE, axes, centre, material, hole)

    def limb(
        self, start: Array, steps: list[Array], radius: float, material: str, joint: str, taper: float = 0.75
    ) -> list[Array]:
        """A chain of tapering rods with balls of ``joint`` between them; returns the far end of each."""
        joints: list[Array] = []
        for step in steps:
            end = start + step
            self.rod(start, end, radius, material, taper)
            radius *= taper
            self.ball(end, radius, joint)
            joints.append(end)
            start = end
        return joints


def heading(yaw: float, pitch: float, roll: float = 0.0) -> Array:
    """(3, 3) frame whose columns are forward, left and up; degrees, yaw to the left, pitch upwards."""
    return rotation_about(2, yaw) @ rotation_about(1, -pitch) @ rotation_about(0, roll)


def mirror_name(name: str) -> str:
    """The name of a landmark's partner under reflection left to right; its own name on the midline."""
    swap = {"left": "right", "right": "left"}
    return "_".join(swap.get(word, word) for word in name.split("_"))


def _perpendicular(axis: Array) -> Array:
    """A unit vector perpendicular to ``axis``, the same for every axis of one direction."""
    sideways = abs(axis[1]) > 0.9 * np.linalg.norm(axis)
    across = np.cross((1.0, 0.0, 0.0) if sideways else (0.0, 1.0, 0.0), axis)
    return np.asarray(across / np.linalg.norm(across))

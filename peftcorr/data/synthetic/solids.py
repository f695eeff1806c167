"""Simple solids and their exact intersection with rays.

Every solid is a unit shape under an affine map ``x = matrix @ local + centre``, so one formula per shape
serves every size, rotation and shear. A ray is ``depth * direction`` from the camera's centre with a
direction whose third component is 1, which makes the ray's parameter the depth itself, unchanged by the map.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TINY = 1e-12


class Shape(IntEnum):
    """Unit shapes, each inside the cube [-1, 1]^3."""

    ELLIPSOID = 0  # x² + y² + z² = 1
    BOX = 1  # |x|, |y|, |z| <= 1
    FRUSTUM = 2  # capped; radius 1 at z = -1 and `parameter` at z = 1 (1: cylinder, 0: cone)
    TUBE = 3  # cylinder of radius 1 with a hole of radius `parameter`, |z| <= 1


@dataclass(frozen=True)
class Solid:
    """A unit shape under an affine map.

    Attributes:
        shape: which unit shape.
        matrix: (3, 3), columns are the images of the unit axes.
        centre: (3,).
        material: name of the material in the object's palette.
        parameter: taper of a frustum or hole of a tube, unused otherwise.
    """

    shape: Shape
    matrix: Array
    centre: Array
    material: str
    parameter: float = 1.0

    def moved(self, rotation: Array, translation: Array) -> Solid:
        """The same solid after ``x -> rotation @ x + translation``."""
        return replace(self, matrix=rotation @ self.matrix, centre=rotation @ self.centre + translation)

    def corners(self) -> Array:
        """(8, 3) corners of the image of the cube [-1, 1]^3, which contains the solid."""
        return _CUBE @ self.matrix.T + self.centre


_CUBE = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])


def depth_along(solid: Solid, u: Array, v: Array) -> Array:
    """Depth at which the rays ``(u, v, 1)`` from the origin first enter a solid in camera coordinates.

    Args:
        solid: in camera coordinates (x right, y down, z forward).
        u: horizontal slopes, any shape that broadcasts with ``v``.
        v: vertical slopes.

    Returns:
        Depths of the broadcast shape, infinite where the ray misses or the surface is behind the camera.
    """
    inverse = np.linalg.inv(solid.matrix)
    origin = -inverse @ solid.centre
    x, y, z = (inverse[k, 0] * u + (inverse[k, 1] * v + inverse[k, 2]) for k in range(3))
    if solid.shape is Shape.ELLIPSOID:
        return _sphere(origin, x, y, z)
    if solid.shape is Shape.BOX:
        return _cube(origin, x, y, z)
    if solid.shape is Shape.FRUSTUM:
        slope = (solid.parameter - 1.0) / 2.0
        sides = _side(origin, x, y, z, (solid.parameter + 1.0) / 2.0, slope)
        return np.minimum(sides, _caps(origin, x, y, z, radii=(1.0, solid.parameter), hole=0.0))
    sides = np.minimum(_side(origin, x, y, z, 1.0, 0.0), _side(origin, x, y, z, solid.parameter, 0.0))
    return np.minimum(sides, _caps(origin, x, y, z, radii=(1.0, 1.0), hole=solid.parameter))


def local_normals(shape: Shape, parameter: Array, local: Array) -> Array:
    """Outward normals (not normalised) at (N, 3) surface points, in the unit shape's frame.

    ``parameter`` is (N,), one value a point, since the points may lie on different solids of one shape.
    """
    if shape is Shape.ELLIPSOID:
        return local
    if shape is Shape.BOX:
        axis = np.abs(local).argmax(axis=1)
        normals = np.zeros_like(local)
        rows = np.arange(len(local))
        normals[rows, axis] = np.sign(local[rows, axis])
        return normals
    radius = np.hypot(local[:, 0], local[:, 1])
    normals = local.copy()
    if shape is Shape.FRUSTUM:
        normals[:, 2] = radius * (1.0 - parameter) / 2.0
    else:
        normals[:, 2] = 0.0
        normals[radius < (1.0 + parameter) / 2.0] *= -1.0
    cap = np.abs(local[:, 2]) > 1.0 - 1e-7
    normals[cap] = 0.0
    normals[cap, 2] = np.sign(local[cap, 2])
    return normals


def _sphere(origin: Array, x: Array, y: Array, z: Array) -> Array:
    a = x * x + y * y + z * z
    b = origin[0] * x + origin[1] * y + origin[2] * z
    c = float(origin @ origin) - 1.0
    inside_root = b * b - a * c
    depth = (-b - np.sqrt(np.maximum(inside_root, 0.0))) / a
    return np.where((inside_root >= 0.0) & (depth > 0.0), depth, np.inf)


def _cube(origin: Array, x: Array, y: Array, z: Array) -> Array:
    near: Array = np.full(x.shape, -np.inf)
    far: Array = np.full(x.shape, np.inf)
    for start, step in zip(origin, (x, y, z), strict=True):
        step = np.where(np.abs(step) < _TINY, _TINY, step)
        first, second = (-1.0 - start) / step, (1.0 - start) / step
        near = np.maximum(near, np.minimum(first, second))
        far = np.minimum(far, np.maximum(first, second))
    return np.where((near <= far) & (near > 0.0), near, np.inf)


def _side(origin: Array, x: Array, y: Array, z: Array, middle: float, slope: float) -> Array:
    """Nearest hit on the round side whose radius at height z is ``middle + slope * z``, |z| <= 1."""
    radius = middle + slope * origin[2]
    a = x * x + y * y - (slope * z) ** 2
    a = np.where(np.abs(a) < _TINY, _TINY, a)
    b = origin[0] * x + origin[1] * y - radius * slope * z
    c = origin[0] ** 2 + origin[1] ** 2 - radius**2
    inside_root = b * b - a * c
    root = np.sqrt(np.maximum(inside_root, 0.0))
    nearest: Array = np.full(x.shape, np.inf)
    for signed_root in (-root, root):
        depth = (-b + signed_root) / a
        hit = (inside_root >= 0.0) & (depth > 0.0) & (np.abs(origin[2] + depth * z) <= 1.0)
        nearest = np.where(hit & (depth < nearest), depth, nearest)
    return nearest


def _caps(origin: Array, x: Array, y: Array, z: Array, radii: tuple[float, float], hole: float) -> Array:
    """Nearest hit on the two flat ends, rings from ``hole`` to the radius at z = -1 and z = 1."""
    z = np.where(np.abs(z) < _TINY, _TINY, z)
    nearest: Array = np.full(x.shape, np.inf)
    for height, radius in zip((-1.0, 1.0), radii, strict=True):
        depth = (height - origin[2]) / z
        squared = (origin[0] + depth * x) ** 2 + (origin[1] + depth * y) ** 2
        hit = (depth > 0.0) & (squared <= radius**2) & (squared >= hole**2) & (depth < nearest)
        nearest = np.where(hit, depth, nearest)
    return nearest

"""From solids to pixels: nearest surface at every pixel, then its colour under one light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peftcorr.data.synthetic.camera import Camera
from peftcorr.data.synthetic.materials import Material, albedo
from peftcorr.data.synthetic.solids import Array, Shape, Solid, depth_along, local_normals

NEAR = 0.05


@dataclass
class DepthBuffer:
    """Nearest surface at every pixel.

    Attributes:
        depth: (H, W), infinite where nothing is hit.
        owner: (H, W), index of the solid hit, -1 where none is.
    """

    depth: Array
    owner: NDArray[np.int32]

    @classmethod
    def empty(cls, camera: Camera) -> DepthBuffer:
        """A buffer of the camera's size in which nothing is hit."""
        size = (camera.height, camera.width)
        return cls(np.full(size, np.inf), np.full(size, -1, dtype=np.int32))


@dataclass(frozen=True)
class Light:
    """A distant light over a hemisphere of ambient light.

    Attributes:
        direction: (3,) unit vector towards the light, camera coordinates.
        upwards: (3,) unit vector to the sky, camera coordinates.
        colour: (3,) RGB of the distant light.
        ambient: strength of the rest.
    """

    direction: Array
    upwards: Array
    colour: Array
    ambient: float


def draw(buffer: DepthBuffer, camera: Camera, solids: Sequence[Solid], first: int = 0) -> None:
    """Enter solids, given in camera coordinates, into the buffer as owners ``first``, ``first + 1``, ..."""
    for index, solid in enumerate(solids, start=first):
        rows, columns = screen_bounds(camera, solid)
        x = np.arange(columns.start, columns.stop, dtype=float)[None, :]
        y = np.arange(rows.start, rows.stop, dtype=float)[:, None]
        depth = depth_along(solid, *camera.slopes(x, y))
        held = buffer.depth[rows, columns]
        nearer = depth < held
        held[nearer] = depth[nearer]
        buffer.owner[rows, columns][nearer] = index


def screen_bounds(camera: Camera, solid: Solid) -> tuple[slice, slice]:
    """Rows and columns that can see the solid; the whole image when it reaches behind the near plane."""
    corners = solid.corners()
    if corners[:, 2].max() <= NEAR:
        return slice(0, 0), slice(0, 0)
    if corners[:, 2].min() <= NEAR:
        return slice(0, camera.height), slice(0, camera.width)
    screen = corners[:, :2] / corners[:, 2:] * camera.focal + camera.principal
    limit = (camera.width, camera.height)
    left, top = np.clip(np.floor(screen.min(axis=0)), 0, limit).astype(int)
    right, bottom = np.clip(np.ceil(screen.max(axis=0)) + 1, 0, limit).astype(int)
    return slice(top, bottom), slice(left, right)


def nearest_depth(solids: Sequence[Solid], u: Array, v: Array) -> Array:
    """Depth of the first surface along each ray ``(u, v, 1)``; infinite where it meets none."""
    nearest = [np.full(u.shape, np.inf), *(depth_along(solid, u, v) for solid in solids)]
    return np.asarray(np.minimum.reduce(nearest))


def shade(
    buffer: DepthBuffer,
    camera: Camera,
    solids: Sequence[Solid],
    materials: Sequence[Material],
    light: Light,
    picture: Array,
) -> None:
    """Paint every pixel that shows a solid into ``picture``, (H, W, 3) in [0, 1]."""
    rows, columns = np.nonzero(buffer.owner >= 0)
    owner = buffer.owner[rows, columns]
    u, v = camera.slopes(columns.astype(float), rows.astype(float))
    rays = np.stack([u, v, np.ones_like(u)], axis=1)
    points = rays * buffer.depth[rows, columns][:, None]

    inverses = np.stack([np.linalg.inv(solid.matrix) for solid in solids])
    centres = np.stack([solid.centre for solid in solids])
    sizes = np.stack([np.linalg.norm(solid.matrix, axis=0) for solid in solids])
    shapes = np.array([int(solid.shape) for solid in solids])[owner]
    parameters = np.array([solid.parameter for solid in solids])[owner]
    local = np.einsum("nij,nj->ni", inverses[owner], points - centres[owner])

    normals = np.zeros_like(local)
    for shape in Shape:
        mine = shapes == int(shape)
        normals[mine] = local_normals(shape, parameters[mine], local[mine])
    normals = np.einsum("nji,nj->ni", inverses[owner], normals)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)

    colours = np.zeros_like(local)
    gloss = np.array([material.gloss for material in materials])[owner]
    textured = local * sizes[owner]
    for index in np.unique(owner):
        mine = owner == index
        colours[mine] = albedo(materials[index], textured[mine])
    picture[rows, columns] = _lit(colours, gloss, normals, rays, light)


def _lit(colours: Array, gloss: Array, normals: Array, rays: Array, light: Light) -> Array:
    """Ambient by height of the normal, Lambert, and a Blinn highlight."""
    facing = np.maximum(normals @ light.direction, 0.0)[:, None]
    sky = 0.75 + 0.25 * (normals @ light.upwards)[:, None]
    half = light.direction - rays / np.linalg.norm(rays, axis=1, keepdims=True)
    half /= np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-9)
    highlight = (gloss * np.maximum((normals * half).sum(axis=1), 0.0) ** 24)[:, None]
    lit = colours * (light.ambient * sky + facing * light.colour) + highlight
    return np.asarray(np.clip(lit, 0.0, 1.0))

"""One rendered view of one object, with its landmarks, their visibility and its box."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from pydantic import BaseModel, ConfigDict, Field

from peftcorr.data.synthetic.backdrop import backdrop, clutter, paint_ground
from peftcorr.data.synthetic.builder import Builder, Category
from peftcorr.data.synthetic.camera import Camera, orbit
from peftcorr.data.synthetic.categories import CATEGORIES
from peftcorr.data.synthetic.materials import random_material
from peftcorr.data.synthetic.raster import NEAR, DepthBuffer, Light, draw, nearest_depth, shade
from peftcorr.data.synthetic.solids import Array, Solid
from peftcorr.data.synthetic.typical import TYPICAL, tint

SIDE = (144, 208)
MINIMUM_LANDMARKS = 4
MINIMUM_AREA = 0.04
ATTEMPTS = 30

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class View:
    """One picture of one object.

    Attributes:
        image: (H, W, 3) uint8.
        box: x1, y1, x2, y2 of the object's visible pixels, in pixels.
        landmarks: projected position (x, y) of every landmark, in the image or not.
        visible: names of the landmarks inside the image that nothing hides.
        azimuth: camera's azimuth in degrees, 0 in front, positive on the object's left.
        elevation: camera's elevation in degrees.
        truncated: whether the image's border cuts the object.
        occluded: whether something else hides part of it.
    """

    image: NDArray[np.uint8]
    box: tuple[float, float, float, float]
    landmarks: dict[str, tuple[float, float]]
    visible: frozenset[str]
    azimuth: float
    elevation: float
    truncated: bool
    occluded: bool


class Variety(BaseModel):
    """How much the objects of a category, and the views of them, differ."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    articulation: Share = Field(1.0, description="share of the joints' full range")
    proportions: Share = Field(1.0, description="share of the full range of proportions")
    azimuth: tuple[float, float] = Field(
        (-180.0, 180.0),
        description="degrees that the camera stands round the object, 0 in front of it, 90 on its left",
    )
    elevation: Share = Field(1.0, description="share of the category's full range of elevations")
    fill: tuple[float, float] = Field(
        (0.7, 1.15), description="smallest and largest side of the object over the image's shorter side"
    )
    shift: Share = Field(1.0, description="share of the free room by which the object may lie off the middle")
    any_colour: Share = Field(
        1.0,
        description="probability that a part has any colour whatever, not the one typical of it in its category",
    )


FULL = Variety()


def build_object(
    category: Category, object_seed: int, variety: Variety = FULL, look_seed: int = 0
) -> Builder:
    """Put one object together; the seed fixes its shape, pose and, for look 0, its materials."""
    streams = ([0], [1], [2, look_seed] if look_seed else [2])
    shape, pose, look = (np.random.default_rng([object_seed, *stream]) for stream in streams)
    builder = Builder(shape, pose, look, variety.articulation, variety.proportions)
    category.build(builder)
    return builder


def render_view(
    category: str, object_seed: int, view_seed: int, look_seed: int = 0, variety: Variety = FULL
) -> View:
    """Render one object from one random camera in one random scene.

    Args:
        category: a key of ``CATEGORIES``.
        object_seed: fixes the object, non-negative.
        view_seed: fixes camera, light and surroundings, non-negative.
        look_seed: other values draw the same shapes from the same camera in other materials and light.
        variety: how much objects and cameras vary.

    Returns:
        The first drawn view that shows enough of the object.

    Raises:
        KeyError: no such category.
    """
    kind = CATEGORIES[category]
    built = build_object(kind, object_seed, variety, look_seed)
    if variety.any_colour < 1:
        tint(built, TYPICAL[category], variety.any_colour, np.random.default_rng([object_seed, 3]))
    for attempt in range(ATTEMPTS):
        seed = [object_seed, view_seed, 3 + attempt]
        look = np.random.default_rng([*seed, look_seed]) if look_seed else None
        if view := _attempt(kind, built, np.random.default_rng(seed), look, variety):
            return view
    raise RuntimeError(f"no clear view of {category} {object_seed} in {ATTEMPTS} attempts")


def landmark_visibility(
    camera: Camera, solids: list[Solid], points: Array, slack: Array
) -> NDArray[np.bool_]:
    """Which landmarks a camera sees.

    Args:
        camera: the view.
        solids: everything that can hide a landmark, in camera coordinates.
        points: (N, 3) landmarks in world coordinates.
        slack: (N,) how far each may lie under the surface that shows it.

    Returns:
        (N,), true where the landmark lies in the image and the first surface along its ray is no more than
        its slack in front of it.
    """
    depth = camera.to_camera(points)[:, 2]
    pixels = camera.project(points)
    nearest = nearest_depth(solids, *camera.slopes(pixels[:, 0], pixels[:, 1]))
    limit = (camera.width - 1, camera.height - 1)
    inside = ((pixels >= 0) & (pixels <= limit)).all(axis=1) & (depth > NEAR)
    return inside & (nearest >= depth - slack)


def _attempt(
    kind: Category, built: Builder, rng: Generator, look: Generator | None, variety: Variety
) -> View | None:
    """One random view, or None when it shows too little; `look` takes over from `rng` once the shapes are drawn."""
    corners = np.concatenate([solid.corners() for solid in built.solids])
    camera, azimuth, elevation = _camera(kind, corners, rng, variety)
    seen = camera.to_camera(corners)
    if seen[:, 2].min() < 4 * NEAR:
        return None
    own = [solid.moved(camera.rotation, camera.translation) for solid in built.solids]
    middle, half = _span(camera.project(corners))
    frame = np.array([camera.width, camera.height], dtype=float)
    far, close = np.array([1.1, 2.0]) * seen[:, 2].max(), np.array([0.6, 0.95]) * seen[:, 2].min()
    size = frame.min() * np.array([0.08, 0.3])
    behind, around = clutter(rng, camera, int(rng.integers(0, 4)), frame / 2, frame / 2, far, size)
    size = 2 * half.max() * np.array([0.07, 0.17])
    hiding, nearer = clutter(rng, camera, int(rng.uniform() < 0.2), middle, half, close, size)
    around += nearer

    names = [name for name in kind.landmarks if name in built.landmarks]
    points = np.stack([built.landmarks[name].point for name in names])
    slack = np.array([built.landmarks[name].slack for name in names])
    visible = landmark_visibility(camera, own + hiding, points, slack)
    if visible.sum() < MINIMUM_LANDMARKS:
        return None

    alone = DepthBuffer.empty(camera)
    draw(alone, camera, own)
    buffer = deepcopy(alone)
    draw(buffer, camera, behind + hiding, first=len(own))
    shown = (buffer.owner >= 0) & (buffer.owner < len(own))
    if shown.mean() < MINIMUM_AREA:
        return None

    if look is not None:
        rng = look
        around = [random_material(rng, frequency=(0.5, 3.0)) for _ in around]
    light = _light(camera, rng)
    picture = backdrop(rng, camera.width, camera.height)
    if kind.grounded and rng.uniform() < 0.6:
        middle, half = _span(corners)
        level = corners[:, 2].min()
        footprint = np.concatenate([middle[:2] + rng.uniform(-0.3, 0.3, 2) * half[:2], half[:2]])
        paint_ground(picture, camera, light, random_material(rng, frequency=(0.3, 2.0)), level, footprint)
    materials = [built.material(solid.material) for solid in own] + around
    shade(buffer, camera, own + behind + hiding, materials, light, picture)

    rows, columns = np.nonzero(shown)
    border = np.concatenate([alone.owner[[0, -1]].ravel(), alone.owner[:, [0, -1]].ravel()])
    pixels = camera.project(points)
    return View(
        image=_develop(picture, rng),
        box=(float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max())),
        landmarks={name: (float(x), float(y)) for name, (x, y) in zip(names, pixels, strict=True)},
        visible=frozenset(name for name, seen_here in zip(names, visible, strict=True) if seen_here),
        azimuth=azimuth,
        elevation=elevation,
        truncated=bool((border >= 0).any()),
        occluded=bool(shown.sum() < 0.97 * (alone.owner >= 0).sum()),
    )


def _camera(kind: Category, corners: Array, rng: Generator, variety: Variety) -> tuple[Camera, float, float]:
    """A random camera on an orbit round the object, cropped so that the object fills part of the image."""
    width, height = (int(side) for side in rng.integers(SIDE[0], SIDE[1] + 1, size=2))
    azimuth = float(rng.uniform(*variety.azimuth))
    lowest, highest = kind.elevation
    level = (lowest + highest) / 2
    elevation = level + (float(rng.uniform(lowest, highest)) - level) * variety.elevation
    rotation = orbit(azimuth, elevation, float(np.clip(rng.normal(0, 7), -20, 20)))
    middle, _ = _span(corners)
    radius = float(np.linalg.norm(corners - middle, axis=1).max())
    focal = float(rng.uniform(1.1, 2.2)) * max(width, height)
    wanted = float(rng.uniform(*variety.fill)) * min(width, height)
    distance = 2 * radius * focal / wanted
    for _ in range(3):  # the extent falls off as 1 / distance only far away: repeat
        distance = max(distance, 1.4 * radius)
        camera = Camera(
            rotation, np.array([0, 0, distance]) - rotation @ middle, focal, (0.0, 0.0), width, height
        )
        centre, half = _span(camera.project(corners))
        distance *= float(2 * half.max()) / wanted
    frame = np.array([width, height])
    room = np.maximum(frame - 2 * half, 0.3 * wanted)
    shift = frame / 2 + variety.shift * rng.uniform(-0.5, 0.5, 2) * room - centre
    principal = float(shift[0]), float(shift[1])
    return replace(camera, principal=principal), azimuth, elevation


def _span(points: Array) -> tuple[Array, Array]:
    """Middle and half size of the box round (N, D) points, (D,) each."""
    low, high = points.min(axis=0), points.max(axis=0)
    return (low + high) / 2, (high - low) / 2


def _light(camera: Camera, rng: Generator) -> Light:
    turn, height = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(15, 80))
    world = np.array([np.cos(height) * np.cos(turn), np.cos(height) * np.sin(turn), np.sin(height)])
    colour = rng.uniform(0.45, 0.85) * (1 + rng.uniform(-0.12, 0.12, size=3))
    return Light(camera.rotation @ world, camera.rotation[:, 2].copy(), colour, float(rng.uniform(0.4, 0.7)))


def _develop(picture: Array, rng: Generator) -> NDArray[np.uint8]:
    """Exposure, sensor noise and a little blur; (H, W, 3) uint8."""
    picture = np.clip(picture, 0, 1) ** rng.uniform(0.75, 1.3)
    picture = picture + rng.normal(0, rng.uniform(0.0, 0.03), size=picture.shape)
    image = Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))
    if rng.uniform() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.2, 0.8))))
    return np.asarray(image)

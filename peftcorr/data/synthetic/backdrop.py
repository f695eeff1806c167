"""What lies behind and in front of the object: sky, ground, clutter and occluders."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from PIL import Image

from peftcorr.data.synthetic.camera import Camera
from peftcorr.data.synthetic.materials import Material, albedo, random_colour, random_material
from peftcorr.data.synthetic.raster import Light
from peftcorr.data.synthetic.solids import Array, Shape, Solid


def backdrop(rng: Generator, width: int, height: int) -> Array:
    """(H, W, 3) picture in [0, 1]: a gradient, cloudy noise of random coarseness and a few flat patches."""
    angle = rng.uniform(0, 2 * np.pi)
    x, y = np.linspace(-1, 1, width)[None, :], np.linspace(-1, 1, height)[:, None]
    ramp = np.clip(0.5 + 0.5 * (np.cos(angle) * x + np.sin(angle) * y), 0, 1)[..., None]
    first, second, third = (random_colour(rng) for _ in range(3))
    picture: Array = first + ramp * (second - first)
    cloud = _noise(rng, width, height)
    picture = picture + (rng.uniform(0.1, 0.8) * cloud)[..., None] * (third - picture)
    for _ in range(int(rng.integers(0, 4))):
        normal, offset = rng.normal(size=2), rng.uniform(-0.9, 0.9, size=2)
        across = normal[0] * (x - offset[0]) + normal[1] * (y - offset[1])
        along = normal[1] * (x - offset[0]) - normal[0] * (y - offset[1])
        patch = (np.abs(across) < rng.uniform(0.05, 0.5)) & (np.abs(along) < rng.uniform(0.1, 1.5))
        picture[patch] += rng.uniform(0.2, 0.8) * (random_colour(rng) - picture[patch])
    return picture


def _noise(rng: Generator, width: int, height: int) -> Array:
    """(H, W) smooth noise in [0, 1] from random grids of doubling fineness."""
    cells = int(rng.integers(2, 9))
    total: Array = np.zeros((height, width))
    for octave in range(3):
        grid = rng.uniform(size=(cells * 2**octave, cells * 2**octave)).astype(np.float32)
        smooth = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(smooth, dtype=float) * 0.5**octave
    return np.clip(total / 1.75, 0, 1)


def paint_ground(
    picture: Array, camera: Camera, light: Light, material: Material, level: float, footprint: Array
) -> None:
    """Paint the plane z = ``level`` below the horizon, with a soft shadow where the object stands.

    Args:
        picture: (H, W, 3), changed in place.
        camera: the view.
        light: gives the shadow's offset and the plane's brightness.
        material: laid out in world coordinates.
        level: height of the plane in world units.
        footprint: (4,), centre x, y and half sizes of the object's shadow in world units.
    """
    x = np.arange(camera.width, dtype=float)[None, :]
    y = np.arange(camera.height, dtype=float)[:, None]
    u, v = np.broadcast_arrays(*camera.slopes(x, y))
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ camera.rotation
    eye = -camera.translation @ camera.rotation
    drop = rays[..., 2]
    below = drop < -1e-3 if eye[2] > level else np.zeros(drop.shape, dtype=bool)
    depth = (level - eye[2]) / drop[below]
    near = depth < 4.0 * np.linalg.norm(eye)
    points = eye + rays[below] * depth[:, None]
    colours = albedo(material, points) * (light.ambient + 0.6 * light.colour)
    inside = ((points[:, :2] - footprint[:2]) / footprint[2:]) ** 2
    shadow = 0.55 * np.clip(1.3 - inside.sum(axis=1), 0, 1)
    colours = np.clip(colours, 0, 1) * (1 - shadow)[:, None]
    picture[below] = np.where(near[:, None], colours, picture[below])


def clutter(
    rng: Generator, camera: Camera, count: int, centre: Array, spread: Array, depth: Array, size: Array
) -> tuple[list[Solid], list[Material]]:
    """Random solids in camera coordinates.

    Args:
        rng: source of every choice.
        camera: the view.
        count: how many.
        centre: (2,) pixel position they scatter about.
        spread: (2,) half range of the scatter in pixels.
        depth: (2,) range of depths.
        size: (2,) range of half sizes in pixels.
    """
    solids, materials = [], []
    for _ in range(count):
        away = float(rng.uniform(*depth))
        place = centre + rng.uniform(-1, 1, size=2) * spread
        u, v = camera.slopes(place[:1], place[1:])
        frame, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        half = rng.uniform(*size) * np.array([0.45, 0.45, 1.0]) ** rng.uniform(0, 1.5) * away / camera.focal
        shape = Shape(int(rng.integers(0, 4)))
        parameter = float(rng.uniform(0.1, 0.9))
        position = np.array([u[0], v[0], 1.0]) * away
        solids.append(Solid(shape, frame * half, position, "", parameter))
        materials.append(random_material(rng, frequency=(0.5, 3.0)))
    return solids, materials

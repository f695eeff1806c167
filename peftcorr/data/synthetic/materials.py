"""Procedural surface colours, evaluated in the object's own space so that they move with it."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from peftcorr.data.synthetic.solids import Array

CONTRAST = (0.1, 0.5)  # how far the second colour may lie from the first towards a random one


class Pattern(IntEnum):
    """How two colours are laid out."""

    PLAIN = 0
    STRIPES = 1
    SPOTS = 2
    NOISE = 3
    TWO_TONE = 4


@dataclass(frozen=True)
class Material:
    """Two colours and the pattern that mixes them.

    Attributes:
        pattern: how the two colours are laid out.
        first: (3,) RGB in [0, 1].
        second: (3,) RGB in [0, 1].
        waves: (3, 3), three wave vectors in radians per object unit; stripes use the first alone.
        phase: (3,) radians.
        gloss: strength of the highlight, 0 to 1.
    """

    pattern: Pattern
    first: Array
    second: Array
    waves: Array
    phase: Array
    gloss: float


def random_colour(rng: np.random.Generator, value: tuple[float, float] = (0.35, 1.0)) -> Array:
    """(3,) RGB with uniform hue, moderate saturation and a brightness drawn from ``value``."""
    return np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.05, 0.85), rng.uniform(*value)))


def random_material(
    rng: np.random.Generator, plain: float = 0.3, frequency: tuple[float, float] = (1.0, 3.5)
) -> Material:
    """A random material.

    Args:
        rng: source of every choice.
        plain: probability of no pattern.
        frequency: range of cycles per object unit.
    """
    first, other = random_colour(rng), random_colour(rng)
    contrast = rng.uniform(*CONTRAST)
    waves = rng.normal(size=(3, 3))
    waves *= 2 * np.pi * rng.uniform(*frequency) / np.linalg.norm(waves, axis=1, keepdims=True)
    pattern = Pattern(int(rng.integers(1, 5)))
    return Material(
        pattern=Pattern.PLAIN if rng.uniform() < plain else pattern,
        first=first,
        second=first + contrast * (other - first),
        waves=waves,
        phase=rng.uniform(0, 2 * np.pi, size=3),
        gloss=float(rng.uniform(0, 0.5)),
    )


def plain_material(colour: Array, gloss: float = 0.2) -> Material:
    """One colour all over."""
    return Material(Pattern.PLAIN, colour, colour, np.zeros((3, 3)), np.zeros(3), gloss)


def albedo(material: Material, points: Array) -> Array:
    """(N, 3) RGB of (N, 3) points given in object units in the solid's own axes."""
    if material.pattern is Pattern.PLAIN:
        return np.broadcast_to(material.first, points.shape)
    waves = np.sin(points @ material.waves.T + material.phase)
    if material.pattern is Pattern.STRIPES:
        level = 4.0 * waves[:, 0]
    elif material.pattern is Pattern.SPOTS:
        level = 6.0 * (waves.prod(axis=1) - 0.15)
    elif material.pattern is Pattern.NOISE:
        level = waves.sum(axis=1)
    else:
        level = 8.0 * (points @ material.waves[0] / 6.0 + np.sin(material.phase[0]) * 0.2)
    mix = np.clip(0.5 + 0.5 * level, 0.0, 1.0)[:, None]
    return material.first + mix * (material.second - material.first)

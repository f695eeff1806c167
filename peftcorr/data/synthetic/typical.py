"""Typical colours of a category's parts, so that colour is a cue, though never a sure one."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from peftcorr.data.synthetic.builder import Builder

Hsv = tuple[float, float, float]

JITTER = np.array([0.025, 0.12, 0.12])  # standard deviation of hue, saturation, value

WHITE, GREY, BLACK = (0.1, 0.08, 0.95), (0.6, 0.08, 0.55), (0.65, 0.3, 0.12)
RED, ORANGE, YELLOW, GREEN = (0.0, 0.85, 0.85), (0.08, 0.85, 0.95), (0.15, 0.8, 0.95), (0.35, 0.7, 0.65)
CYAN, BLUE, PURPLE = (0.5, 0.65, 0.85), (0.61, 0.75, 0.8), (0.77, 0.6, 0.7)
PINK, BROWN = (0.92, 0.45, 0.95), (0.07, 0.6, 0.5)

TYPICAL: dict[str, dict[str, Hsv]] = {
    "quadruped": {
        "body": BROWN, "body/neck": ORANGE, "head": YELLOW, "nose": PINK, "ear": PURPLE,
        "limb/front": GREY, "limb/rear": BROWN, "paw/front": WHITE, "paw/rear": BLACK,
        "limb/front_knee": RED, "limb/rear_knee": BLUE, "limb/tail": BLACK, "ear/tail": WHITE,
    },
    "bird": {
        "body": BLUE, "head": YELLOW, "beak": ORANGE, "wing": GREEN, "wing/outer": CYAN, "tip": BLACK,
        "tail": RED, "beak/leg": PINK, "beak/foot": PURPLE,
    },
    "fish": {
        "body": ORANGE, "lip": PINK, "body/stalk": BROWN, "tail/upper": RED, "tail/lower": WHITE,
        "fin/dorsal": BLUE, "fin/anal": YELLOW, "fin/pectoral": GREEN, "fin/pelvic": PURPLE,
    },
    "insect": {
        "body": RED, "abdomen": YELLOW, "head": BLUE, "eye": GREEN, "foot/antenna": WHITE, "limb/antenna": GREY,
        "limb/front": BROWN, "limb/middle": GREY, "limb/rear": BLACK, "foot/front": ORANGE,
        "foot/middle": CYAN, "foot/rear": PINK, "limb/front_knee": YELLOW, "limb/middle_knee": GREEN,
        "limb/rear_knee": PURPLE,
    },
    "car": {
        "body": RED, "cabin": WHITE, "glass": BLUE, "tyre": BLACK, "rim/front": YELLOW, "rim/rear": GREY,
        "lamp": WHITE, "body/mirror": GREEN,
    },
    "aeroplane": {
        "body": WHITE, "body/tail": GREY, "wing": BLUE, "tail": ORANGE, "tail/fin": PURPLE, "engine": YELLOW,
        "glass": BLACK,
    },
    "bicycle": {
        "frame": CYAN, "fork": RED, "tyre": BLACK, "rim/front": YELLOW, "rim/rear": WHITE, "saddle": BROWN,
        "grip": PINK, "grip/pedal": GREEN, "rim/crank": PURPLE,
    },
    "person": {
        "shirt": RED, "sleeve": YELLOW, "sleeve/elbow": GREEN, "trousers": BLUE, "trousers/knee": CYAN,
        "shoe": BLACK, "hair": PURPLE,
    },
    "chair": {
        "seat": RED, "back": BLUE, "leg": BROWN, "leg/rear": GREY, "arm": YELLOW, "cap/front": GREEN,
        "cap/rear": PURPLE, "cap/arm": ORANGE,
    },
}  # fmt: skip


def tint(built: Builder, colours: Mapping[str, Hsv], any_colour: float, rng: np.random.Generator) -> None:
    """Give parts their typical colour, a little different for every object, but with probability `any_colour` none."""
    for part, typical in colours.items():
        own = rng.uniform() < any_colour
        hue, *rest = np.asarray(typical) + JITTER * rng.normal(size=3)
        if not own:
            material = built.material(part)
            first = np.array(colorsys.hsv_to_rgb(hue % 1.0, *np.clip(rest, 0.0, 1.0)))
            second = np.clip(first + material.second - material.first, 0.0, 1.0)
            built.materials[part] = replace(material, first=first, second=second)

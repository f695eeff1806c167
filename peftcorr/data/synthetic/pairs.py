"""Annotation of rendered images and of the pairs drawn from them, in SPair-71k's layout.

The layout is that of Min et al., "SPair-71k: A Large-scale Benchmark for Semantic Correspondence" (2019).
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np

from peftcorr.data.synthetic.builder import Category, mirror_name
from peftcorr.data.synthetic.scene import View

VIEWPOINT_STEPS = (45.0, 100.0)  # degrees of azimuth between two views: up to here 0, up to there 1, else 2
SCALE_STEPS = (1.4, 2.0)  # ratio of the longer box sides, likewise


Annotation = dict[str, Any]  # a JSON file's content


def annotate(view: View, category: Category, filename: str, object_seed: int) -> Annotation:
    """Annotation of one image: the fields of SPair-71k, then what the renderer knows besides.

    Keypoints are keyed by the landmark's position in the category's list; one that is not seen is null.
    """
    height, width, depth = view.image.shape
    return {
        "filename": filename,
        "image_width": width,
        "image_height": height,
        "image_depth": depth,
        "category": category.name,
        "bndbox": list(view.box),
        "kps": {
            str(index): list(view.landmarks[name]) if name in view.visible else None
            for index, name in enumerate(category.landmarks)
        },
        "azimuth": view.azimuth,
        "elevation": view.elevation,
        "truncated": view.truncated,
        "occluded": view.occluded,
        "object_seed": object_seed,
    }


def keypoint_names(category: Category) -> list[dict[str, str | int]]:
    """Name of each landmark of a category and the index of its mirror partner (its own on the midline)."""
    order = {name: index for index, name in enumerate(category.landmarks)}
    return [{"name": name, "mirror": order[mirror_name(name)]} for name in category.landmarks]


def sample_pairs(
    images: Sequence[Annotation], count: int, minimum_shared: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Up to ``count`` ordered pairs of images that share enough visible landmarks, in random order."""
    seen = [{key for key, point in image["kps"].items() if point} for image in images]
    able = [
        (source, target)
        for source, target in itertools.permutations(range(len(images)), 2)
        if len(seen[source] & seen[target]) >= minimum_shared
    ]
    return [able[index] for index in rng.permutation(len(able))[:count]]


def annotate_pair(number: int, source: Annotation, target: Annotation) -> Annotation:
    """Annotation of one ordered pair, with the field names of SPair-71k."""
    stems = (image["filename"].rsplit(".", 1)[0] for image in (source, target))
    shared = [key for key in source["kps"] if source["kps"][key] and target["kps"][key]]
    turn = abs((source["azimuth"] - target["azimuth"] + 180.0) % 360.0 - 180.0)
    boxes = np.array([source["bndbox"], target["bndbox"]])
    sizes = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    return {
        "pair_id": number,
        "filename": f"{number:06d}-{'-'.join(stems)}:{source['category']}",
        "src_imname": source["filename"],
        "trg_imname": target["filename"],
        "src_imsize": [source["image_width"], source["image_height"], source["image_depth"]],
        "trg_imsize": [target["image_width"], target["image_height"], target["image_depth"]],
        "src_bndbox": source["bndbox"],
        "trg_bndbox": target["bndbox"],
        "category": source["category"],
        "src_kps": [source["kps"][key] for key in shared],
        "trg_kps": [target["kps"][key] for key in shared],
        "kps_ids": shared,
        "mirror": 0,
        "viewpoint_variation": bisect_left(VIEWPOINT_STEPS, turn),
        "scale_variation": bisect_left(SCALE_STEPS, sizes.max() / sizes.min()),
        "truncation": source["truncated"] + 2 * target["truncated"],
        "occlusion": source["occluded"] + 2 * target["occluded"],
    }

"""Synthetic pictures in SPair-71k's layout and of its test split's size: 481 images, 18 categories, 12,234 pairs."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

IMAGES, CATEGORIES, PAIRS, KEYPOINTS = 481, 18, 12_234, 88_328
COPIES = {"test": 1, "trn": 3, "val": 9}  # how often each split lists every pair
_LANDMARKS, _VISIBLE = 12, 0.79  # so that a pair shares 7.2 keypoints on average, as in SPair-71k


def write(root: Path, small: bool = False) -> Path:
    """Write the folder: ``test`` is of SPair-71k's size, the other splits list its pairs several times (`COPIES`).

    Args:
        root: to be made.
        small: two categories of four images alone.
    """
    rng = np.random.default_rng(0)
    sizes = [4, 4] if small else [IMAGES // CATEGORIES + (n < IMAGES % CATEGORIES) for n in range(CATEGORIES)]
    points, seen, extents = [], [], []
    for category, images in enumerate(sizes):
        folder = root / "JPEGImages" / f"category{category:02d}"
        folder.mkdir(parents=True)
        extent = np.column_stack((rng.integers(375, 501, images), rng.integers(333, 376, images)))
        for index in range(images):
            _picture(rng, *extent[index].tolist()).save(folder / f"{index:03d}.jpg", quality=92)
        extents.append(extent)
        points.append(np.round(rng.uniform(0.05, 0.95, (images, _LANDMARKS, 2)) * (extent[:, None] - 1)))
        seen.append(rng.random((images, _LANDMARKS)) < _VISIBLE)
    pairs = [
        (category, source, target)
        for category, images in enumerate(sizes)
        for source, target in itertools.permutations(range(images), 2)
        if (seen[category][source] & seen[category][target]).any()
    ]
    count = min(len(pairs), PAIRS)
    pairs = [pairs[index * len(pairs) // count] for index in range(count)]
    shared = [np.flatnonzero(seen[c][s] & seen[c][t]) for c, s, t in pairs]
    _trim(shared, KEYPOINTS)
    for split, copies in COPIES.items():
        folder = root / "PairAnnotation" / split
        folder.mkdir(parents=True)
        names: list[str] = []
        for copy in range(copies):
            for (category, source, target), keypoints in zip(pairs, shared, strict=True):
                name = f"{len(names):06d}-{source:03d}-{target:03d}-{copy}:category{category:02d}"
                annotation = _annotation(category, source, target, keypoints, points, extents)
                (folder / f"{name}.json").write_text(json.dumps(annotation), encoding="utf-8")
                names.append(name)
        layout = root / "Layout" / "large" / f"{split}.txt"
        layout.parent.mkdir(parents=True, exist_ok=True)
        layout.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return root


def _trim(shared: list[NDArray[np.int64]], total: int) -> None:
    """Drop single keypoints of pairs that have several, until `total` are left (if there were more)."""
    surplus = sum(map(len, shared)) - total
    while surplus > 0:
        for index in range(len(shared)):
            if surplus > 0 and len(shared[index]) > 3:
                shared[index] = shared[index][:-1]
                surplus -= 1


def _picture(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Smooth colours with fine grain: about as many bytes, and as long to decode, as a photograph."""
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    grain = rng.integers(-24, 25, (height, width, 1), dtype=np.int16)
    return Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))


def _annotation(
    category: int,
    source: int,
    target: int,
    keypoints: NDArray[np.int64],
    points: list[NDArray[np.float64]],
    extents: list[NDArray[np.int64]],
) -> dict[str, object]:
    side: dict[str, object] = {}
    for prefix, image in (("src", source), ("trg", target)):
        width, height = extents[category][image].tolist()
        side |= {
            f"{prefix}_imname": f"{image:03d}.jpg",
            f"{prefix}_imsize": [width, height, 3],
            f"{prefix}_bndbox": [2, 2, width - 3, height - 3],
            f"{prefix}_kps": points[category][image][keypoints].tolist(),
        }
    return {
        **side,
        "category": f"category{category:02d}",
        "kps_ids": [str(keypoint) for keypoint in keypoints],
        "mirror": 0,
        "viewpoint_variation": 0,
        "scale_variation": 0,
        "truncation": 0,
        "occlusion": 0,
    }

"""A folder in SPair-71k's layout in which a landmark has one place in an image, whatever pair lists it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
from PIL import Image

CATEGORIES = ("bird", "car")


def write_folder(root: Path, images: int = 4, seed: int = 0) -> Path:
    """Write `images` photographs in each of two categories, and all their ordered pairs in every split.

    Sizes differ from image to image, each of five landmarks is missing from one image in four, and pairs that share
    none are left out.
    """
    rng = np.random.default_rng(seed)
    pairs: list[tuple[str, dict[str, object]]] = []
    for category in CATEGORIES:
        folder = root / "JPEGImages" / category
        folder.mkdir(parents=True, exist_ok=True)
        sizes = rng.integers(30, 70, (images, 2))
        for index, (width, height) in enumerate(sizes):
            coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
            coarse.resize((int(width), int(height)), Image.Resampling.BICUBIC).save(folder / f"{index}.jpg")
        points = np.round(rng.uniform(0.05, 0.95, (images, 5, 2)) * (sizes[:, None] - 1))
        seen = rng.random((images, 5)) > 0.25
        for source, target in itertools.permutations(range(images), 2):
            shared = np.flatnonzero(seen[source] & seen[target])
            if len(shared):
                annotation = {
                    "src_imname": f"{source}.jpg",
                    "trg_imname": f"{target}.jpg",
                    "src_imsize": [*sizes[source].tolist(), 3],
                    "trg_imsize": [*sizes[target].tolist(), 3],
                    "src_bndbox": [1, 1, *(sizes[source] - 2).tolist()],
                    "trg_bndbox": [1, 1, *(sizes[target] - 2).tolist()],
                    "category": category,
                    "src_kps": points[source, shared].tolist(),
                    "trg_kps": points[target, shared].tolist(),
                    "kps_ids": [str(identity) for identity in shared],
                    "mirror": 0,
                    "viewpoint_variation": len(pairs) % 3,
                    "scale_variation": len(pairs) // 3 % 3,
                    "truncation": len(pairs) % 4,
                    "occlusion": len(pairs) // 4 % 4,
                }
                pairs.append((f"{len(pairs):06d}-{source}-{target}:{category}", annotation))
    for split in ("trn", "val", "test"):
        folder = root / "PairAnnotation" / split
        folder.mkdir(parents=True, exist_ok=True)
        for name, annotation in pairs:
            (folder / f"{name}.json").write_text(json.dumps(annotation), encoding="utf-8")
        layout = root / "Layout" / "large" / f"{split}.txt"
        layout.parent.mkdir(parents=True, exist_ok=True)
        layout.write_text("".join(f"{name}\n" for name, _ in pairs), encoding="utf-8")
    return root

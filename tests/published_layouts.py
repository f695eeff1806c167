"""PF-Pascal, AP-10K and COCO folders as they are published, small, with pictures of noise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

JPEG = "PF-dataset-PASCAL/JPEGImages"
ANIMAL_KEYPOINTS = [
    "left_eye", "right_eye", "nose", "neck", "root_of_tail", "left_shoulder", "left_elbow", "left_front_paw",
    "right_shoulder", "right_elbow", "right_front_paw", "left_hip", "left_knee", "left_back_paw", "right_hip",
    "right_knee", "right_back_paw",
]  # fmt: skip


def picture(path: Path, size: tuple[int, int], seed: int = 0) -> Path:
    """Write a smooth random picture of `size` (W, H)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


# PF-Pascal


def pf_pascal_list(
    root: Path, split: str, rows: Iterable[Sequence[object]], header: str, name: str = ""
) -> Path:
    """Write one list; returns its path."""
    path = root / (name or f"image_pairs/{split}_pairs.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")
    return path


def pf_pascal_annotation(
    root: Path, category: str, stem: str, kps: Any, box: Any = (10, 20, 210, 170)
) -> Path:
    """Write one ``.mat``; returns its path."""
    path = root / "PF-dataset-PASCAL" / "Annotations" / category / f"{stem}.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"kps": np.array(kps, dtype=float), "bbox": np.array([box], dtype=float)})
    return path


def write_pf_pascal(root: Path) -> Path:
    """Three cats and two trains of 300 px, annotation, and the three lists as NCNet publishes them."""
    nan = float("nan")
    sizes = {"2008_000001": (300, 200), "2008_000002": (225, 300), "2009_000003": (300, 300)}
    cats = {
        "2008_000001": [[30.5, 40.25], [nan, nan], [120, 80], [200, 150]],
        "2008_000002": [[10, 20], [50, 60], [100.125, 110], [nan, nan]],
        "2009_000003": [[15, 25], [55, 65], [nan, nan], [250, 260]],
    }
    for seed, (stem, kps) in enumerate(cats.items()):
        picture(root / JPEG / f"{stem}.jpg", sizes[stem], seed)
        pf_pascal_annotation(root, "cat", stem, kps)
    for seed, stem in enumerate(("2010_000004", "2011_000005")):
        picture(root / JPEG / f"{stem}.jpg", (300, 225), 7 + seed)
        pf_pascal_annotation(root, "train", stem, [[20 + seed, 30], [40, 50 + seed]])

    def image(stem: str) -> str:
        return f"{JPEG}/{stem}.jpg"

    a, b, c = (image(stem) for stem in cats)
    t, u = image("2010_000004"), image("2011_000005")
    pf_pascal_list(
        root,
        "test",
        [
            (a, b, 8, "30.5;120", "40.25;80", "10;100.125", "20;110"),
            (t, u, 19, "20.0;40.0", "30.0;50.0", "21.0;40.0", "30.0;51.0"),
        ],
        "source_image,target_image,class,XA,YA,XB,YB",
    )
    pf_pascal_list(root, "val", [(a, c, 8, 0)], "source_image,target_image,class,flip")
    rows = [(a, b, 8, 0), (b, a, 8, 1), (a, b, 8, 1), (t, u, 19, 1), (b, a, 8, 0), (a, b, 8, 0)]
    pf_pascal_list(root, "trn", rows, "source_image,target_image,class,flip", "image_pairs/train_pairs.csv")
    return root


# COCO's keypoint format


def coco_image(number: int, size: tuple[int, int] = (60, 40), name: str = "") -> dict[str, Any]:
    """An entry of ``images``."""
    return {"id": number, "file_name": name or f"{number:012d}.jpg", "width": size[0], "height": size[1]}


def coco_object(
    number: int, category: int, seen: Iterable[int], keypoints: int = 5, **more: Any
) -> dict[str, Any]:
    """An entry of ``annotations`` of image `number`: keypoint k of those in `seen` lies at (number + k, 2 k)."""
    triples: list[float] = []
    for k in range(keypoints):
        triples += [number + k, 2 * k, 2] if k in seen else [0, 0, 0]
    made = {"id": 1000 + number, "image_id": number, "category_id": category, "bbox": [5, 6, 20, 30]}
    return {
        **made,
        "area": 600,
        "iscrowd": 0,
        "num_keypoints": len(triples) // 3,
        "keypoints": triples,
        **more,
    }


def coco_category(number: int, name: str, above: str, keypoints: Sequence[str]) -> dict[str, Any]:
    """An entry of ``categories``."""
    return {"id": number, "name": name, "supercategory": above, "keypoints": list(keypoints), "skeleton": []}


def write_json(path: Path, content: Any) -> Path:
    """Write a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def coco_content() -> dict[str, Any]:
    """Four birds with 5, 4, 3 and 2 keypoints and two dogs with 3."""
    names = ["beak", "crown", "tail", "left_wing", "right_wing"]
    birds = [coco_object(n, 1, range(6 - n)) for n in (1, 2, 3, 4)]
    dogs = [coco_object(n, 2, (0, 2, 4)) for n in (5, 6)]
    return {
        "info": {"description": "noise"},
        "licenses": [],
        "images": [coco_image(n) for n in range(1, 7)],
        "annotations": birds + dogs,
        "categories": [coco_category(1, "bird", "animal", names), coco_category(2, "dog", "animal", names)],
    }


def write_coco(root: Path, splits: Sequence[str] = ("trn", "val", "test")) -> Path:
    """A folder whose splits have the same images."""
    for split in splits:
        write_json(root / "annotations" / f"{split}.json", coco_content())
    for number in range(1, 7):
        picture(root / "images" / f"{number:012d}.jpg", (60, 40), number)
    return root


# AP-10K

SPECIES = {  # number: (species, family, images)
    1: ("antelope", "Bovidae", 54),
    2: ("argali sheep", "Bovidae", 32),
    7: ("arctic fox", "Canidae", 31),
    8: ("dog", "Canidae", 3),
    20: ("elephant", "Elephantidae", 4),
}


def ap10k_seen(number: int) -> list[int]:
    """Keypoints that image `number` shows: three in four, any two images share at least eight."""
    return [k for k in range(17) if (k + number) % 4]


def ap10k_content() -> dict[str, dict[str, Any]]:
    """The three published files by split; images of a species have successive ids and are spread over the files."""
    categories = [coco_category(n, name, above, ANIMAL_KEYPOINTS) for n, (name, above, _) in SPECIES.items()]
    content = {
        split: {"info": {}, "licenses": [], "images": [], "annotations": [], "categories": categories}
        for split in ("train", "val", "test")
    }
    number = 0
    for category, (_, _, images) in SPECIES.items():
        for index in range(images):
            number += 1
            part: Any = content[("train", "test", "train", "val")[index % 4]]
            part["images"].append(coco_image(number, (160, 40)))
            seen = ap10k_seen(number)
            part["annotations"].append(
                coco_object(number, category, seen, 17, bbox=[5, 6, 20, 9 + number % 20])
            )
    return content


def write_ap10k(root: Path, crowd: Sequence[int] = (), pictures: bool = True) -> Path:
    """The folder ``ap-10k`` with the crowd list in it."""
    content = ap10k_content()
    for split, part in content.items():
        write_json(root / "annotations" / f"ap10k-{split}-split1.json", part)
        for image in part["images"]:
            path = root / "data" / image["file_name"]
            if pictures:
                picture(path, (160, 40), image["id"])
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    (root / "ap-10k_is_crowd.txt").write_text("".join(f"{n:012d}\n" for n in crowd), encoding="utf-8")
    return root


def arrange_ap10k_sample(sample: Path, root: Path) -> Path:
    """Put the two real photographs of `sample`, of one COCO file, into AP-10K's layout; without a crowd list."""
    content = json.loads((sample / "test_ap10k.json").read_text(encoding="utf-8"))
    for split in ("train", "val", "test"):
        part = content if split == "test" else {**content, "images": [], "annotations": []}
        write_json(root / "annotations" / f"ap10k-{split}-split1.json", part)
    shutil.copytree(sample, root / "data", ignore=shutil.ignore_patterns("*.json"))
    return root

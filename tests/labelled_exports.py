"""Small exports of labelling tools, each in exactly its layout: the same animals on the same photographs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.published_layouts import picture, write_json

NAMES = ("snout", "left ear", "tail base", "tip")
PLACES = ((5.25, 6.0), (12.0, 7.5), (20.0, 24.0), (22.0, 9.0))
SIZE = (60, 40)


def animal(n: int) -> list[float]:
    """Keypoints of the animal on photograph n as triples: n pixels to the right; one in four has no tip."""
    triples: list[float] = []
    for name, (x, y) in zip(NAMES, PLACES, strict=True):
        triples += [0, 0, 0] if name == "tip" and n % 4 == 3 else [x + n % 20, y, 2]
    return triples


# CVAT, "COCO Keypoints 1.0": annotations/person_keypoints_<subset>.json and images/<subset>


def write_cvat(root: Path, images: int = 12) -> Path:
    """One task of subset ``default``; its labels have no supercategory, and objects carry attributes."""
    content: dict[str, Any] = {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {
            "contributor": "",
            "date_created": "",
            "description": "",
            "url": "",
            "version": "",
            "year": "",
        },
        "categories": [
            {
                "id": 1,
                "name": "mouse",
                "supercategory": "",
                "keypoints": list(NAMES),
                "skeleton": [[1, 2], [1, 3]],
            }
        ],
        "images": [],
        "annotations": [],
    }
    for n in range(images):
        name = f"frame_{n:06d}.png"
        picture(root / "images" / "default" / name, SIZE, n)
        content["images"].append(
            {
                "id": n + 1, "width": 60, "height": 40, "file_name": name, "license": 0, "flickr_url": "",
                "coco_url": "", "date_captured": 0,
            }
        )  # fmt: skip
        content["annotations"].append(
            {
                "id": n + 1, "image_id": n + 1, "category_id": 1, "segmentation": [], "area": 400.0,
                "bbox": [3.0 + n % 20, 4.0, 25.0, 22.0], "iscrowd": 0,
                "attributes": {"occluded": False, "keyframe": True, "track_id": n // 2},
                "keypoints": animal(n), "num_keypoints": sum(v > 0 for v in animal(n)[2::3]),
            }
        )  # fmt: skip
    write_json(root / "annotations" / "person_keypoints_default.json", content)
    return root


# Label Studio, "COCO with images": result.json and images/


def write_label_studio(root: Path, images: int = 12) -> Path:
    """Names begin with the folder, as written on Windows; a rectangle label is a category without keypoints."""
    content: dict[str, Any] = {
        "images": [],
        "categories": [
            {"id": 0, "name": "cage"},
            {
                "id": 1,
                "name": "default",
                "supercategory": "default",
                "keypoints": list(NAMES),
                "skeleton": [],
            },
        ],
        "annotations": [],
        "info": {"year": 2026, "version": "1.0", "description": "", "contributor": "Label Studio", "url": ""},
    }
    for n in range(images):
        name = f"{hashlib.md5(str(n).encode()).hexdigest()[:8]}-{n}.jpg"
        picture(root / "images" / name, SIZE, n)
        content["images"].append({"width": 60, "height": 40, "id": n, "file_name": f"images\\{name}"})
        number = len(content["annotations"])
        xs, ys, seen = (animal(n)[k::3] for k in range(3))
        xs, ys = ([round(value) for value, v in zip(values, seen, strict=True) if v] for values in (xs, ys))
        content["annotations"] += [
            {
                "id": number, "image_id": n, "category_id": 0, "segmentation": [], "bbox": [1.0, 1.0, 55.0, 36.0],
                "ignore": 0, "iscrowd": 0, "area": 1980.0,
            },
            {
                "id": number + 1, "image_id": n, "category_id": 1, "keypoints": [round(v) for v in animal(n)],
                "num_keypoints": len(xs), "bbox": [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)],
                "iscrowd": 0,
            },
        ]  # fmt: skip
    write_json(root / "result.json", content)
    return root


# Roboflow, "COCO": train|valid|test, each with its images and _annotations.coco.json


def write_roboflow(
    root: Path, counts: Sequence[tuple[str, int]] = (("train", 6), ("valid", 3), ("test", 3))
) -> Path:
    """The project's name is a category of its own above the class; names carry a hash."""
    start = 0
    for folder, images in counts:
        content: dict[str, Any] = {
            "info": {
                "year": "2026",
                "version": "1",
                "description": "Exported from roboflow.com",
                "contributor": "",
            },
            "licenses": [
                {"id": 1, "url": "https://creativecommons.org/licenses/by/4.0/", "name": "CC BY 4.0"}
            ],
            "categories": [
                {"id": 0, "name": "mouse", "supercategory": "none"},
                {
                    "id": 1,
                    "name": "mouse",
                    "supercategory": "mouse",
                    "keypoints": list(NAMES),
                    "skeleton": [[1, 2]],
                },
            ],
            "images": [],
            "annotations": [],
        }
        for index in range(images):
            n = start + index
            name = f"{n:03d}_png.rf.{hashlib.md5(str(n).encode()).hexdigest()}.jpg"
            picture(root / folder / name, SIZE, n)
            content["images"].append(
                {
                    "id": index, "license": 1, "file_name": name, "height": 40, "width": 60,
                    "date_captured": "2026-01-01T00:00:00+00:00",
                }
            )  # fmt: skip
            content["annotations"].append(
                {
                    "id": index, "image_id": index, "category_id": 1, "bbox": [3 + n % 20, 4, 25, 22], "area": 550,
                    "segmentation": [], "iscrowd": 0, "keypoints": animal(n),
                }
            )  # fmt: skip
        write_json(root / folder / "_annotations.coco.json", content)
        start += images
    for name in ("README.dataset.txt", "README.roboflow.txt"):
        (root / name).write_text("mice\n", encoding="utf-8")
    return root


# COCO Annotator: one JSON file beside the images


def write_coco_annotator(root: Path, images: int = 12) -> Path:
    """The dataset's export put into its folder: many fields of its own, truth values, and no box of keypoints alone."""
    content: dict[str, Any] = {
        "images": [],
        "categories": [
            {
                "id": 7, "name": "mouse", "supercategory": "", "color": "#ce3dc7", "metadata": {}, "creator": "admin",
                "keypoint_colors": ["#bf5c4d", "#d99100", "#4d8068", "#0d2b80"], "keypoints": list(NAMES),
                "skeleton": [[1, 2]],
            }
        ],
        "annotations": [],
    }  # fmt: skip
    for n in range(images):
        name = f"{n}.jpg"
        picture(root / name, SIZE, n)
        content["images"].append(
            {
                "id": 400 + n, "dataset_id": 3, "category_ids": [7], "path": f"/datasets/mice/{name}", "width": 60,
                "height": 40, "file_name": name, "annotated": True, "annotating": [], "num_annotations": 1,
                "metadata": {}, "deleted": False, "milliseconds": 9000, "events": [], "regenerate_thumbnail": False,
                "is_modified": False,
            }
        )  # fmt: skip
        content["annotations"].append(
            {
                "id": 900 + n, "image_id": 400 + n, "category_id": 7, "dataset_id": 3, "segmentation": [], "area": 0,
                "bbox": [0, 0, 0, 0], "iscrowd": False, "isbbox": False, "creator": "admin", "width": 60, "height": 40,
                "color": "#6b64da", "keypoints": animal(n), "metadata": {}, "milliseconds": 8000, "events": [],
                "num_keypoints": sum(v > 0 for v in animal(n)[2::3]),
            }
        )  # fmt: skip
    write_json(root / "mice-1.json", content)
    return root


# DeepLabCut: labeled-data/<video>/CollectedData_<scorer>.csv beside the frames


def deeplabcut_rows(
    video: str, frames: int = 3, animals: Sequence[str] = (), index: str = "one cell", start: int = 0
) -> list[list[str]]:
    """The rows of a table, the header's too."""
    separator = "\\" if index == "Windows" else "/"
    before = [""] * 2 if index == "three cells" else []
    columns = [(who, name, axis) for who in animals or ("",) for name in NAMES for axis in "xy"]
    rows = [["scorer", *before, *["Ada"] * len(columns)]]
    if animals:
        rows.append(["individuals", *before, *(who for who, _, _ in columns)])
    rows.append(["bodyparts", *before, *(name for _, name, _ in columns)])
    rows.append(["coords", *before, *(axis for _, _, axis in columns)])
    for n in range(frames):
        path = ["labeled-data", video, f"img{n:04d}.png"]
        cells = []
        for shift in range(len(animals) or 1):
            triples = animal(start + n)
            for x, y, v in zip(triples[0::3], triples[1::3], triples[2::3], strict=True):
                cells += [str(x + 10.0 * shift), str(float(y))] if v else ["", ""]
        rows.append([*(path if before else [separator.join(path)]), *cells])
    return rows


def write_deeplabcut(
    root: Path, videos: int = 2, frames: int = 3, animals: Sequence[str] = (), index: str = "one cell"
) -> Path:
    """A project of several videos."""
    for number in range(1, videos + 1):
        video = f"reach-{number}"
        folder = root / "labeled-data" / video
        start = (number - 1) * frames
        for n in range(frames):
            picture(folder / f"img{n:04d}.png", SIZE, start + n)
        rows = deeplabcut_rows(video, frames, animals, index, start)
        text = "".join(",".join(row) + "\n" for row in rows)
        (folder / "CollectedData_Ada.csv").write_text(text, encoding="utf-8")
        (folder / "CollectedData_Ada.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (root / "config.yaml").write_text("Task: reach\nscorer: Ada\n", encoding="utf-8")
    return root

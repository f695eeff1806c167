"""Datasets in small folders, and how one keypoint, one box or one byte of an image of each is changed."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat, savemat

from peftcorr.data.layouts.restricted_pickle import load_arrays
from tests.engine.identified import flip
from tests.published_layouts import (
    JPEG,
    pf_pascal_annotation,
    picture,
    write_ap10k,
    write_coco,
    write_pf_pascal,
)
from tests.small_folder import write_folder
from tests.small_videos import write_videos

Edit = Callable[[Path], None]


@dataclass(frozen=True)
class Layout:
    """A dataset in a small folder, and how what a frozen run reads of it is changed.

    Attributes:
        write: writes the folder and returns it.
        keypoint: moves one keypoint of the test split by half a pixel.
        image: changes one byte of one image of the test split.
        box: changes one box; None where the layout has none that are read.
        options: of the dataset.
        shown: name of the dataset in a folder ``here``.
    """

    write: Callable[[Path], Path]
    keypoint: Edit
    image: Edit
    box: Edit | None
    shown: str
    options: tuple[str, ...] = ()


def in_json(pattern: str, change: Callable[[Any], None]) -> Edit:
    """Change the first JSON file of that pattern."""

    def edit(root: Path) -> None:
        path = sorted(root.glob(pattern))[0]
        content = json.loads(path.read_text(encoding="utf-8"))
        change(content)
        path.write_text(json.dumps(content), encoding="utf-8")

    return edit


def moved(*keys: Any, by: float = 0.5) -> Callable[[Any], None]:
    """Add to the number that the keys lead to."""

    def change(content: Any) -> None:
        *path, last = keys
        for key in path:
            content = content[key]
        content[last] += by

    return change


def in_mat(pattern: str, field: str, place: tuple[int, int]) -> Edit:
    """Add half a pixel to one number of a MATLAB file."""

    def edit(root: Path) -> None:
        path = sorted(root.glob(pattern))[0]
        content = {key: value for key, value in loadmat(path).items() if not key.startswith("__")}
        content[field] = content[field].astype(float)
        content[field][place] += 0.5
        savemat(path, content)

    return edit


def in_text(file: str, before: str, after: str) -> Edit:
    def edit(root: Path) -> None:
        text = (root / file).read_text(encoding="utf-8")
        assert before in text
        (root / file).write_text(text.replace(before, after, 1), encoding="utf-8")

    return edit


def bit_of(pattern: str) -> Edit:
    return lambda root: flip(sorted(root.glob(pattern))[0])


def grown(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"\0")


def in_videos(change: Callable[[dict[str, Any]], None]) -> Edit:
    """Change the first video of TAP-Vid's pickle."""

    def edit(root: Path) -> None:
        path = root / "tapvid_davis.pkl"
        videos = {
            name: {key: array.copy() for key, array in video.items()}
            for name, video in load_arrays(path).items()
        }
        change(next(iter(videos.values())))
        path.write_bytes(pickle.dumps(videos, 4))

    return edit


def move_a_track(video: dict[str, Any]) -> None:
    track, frame = np.argwhere(~video["occluded"])[-1]
    video["points"][track, frame, 0] -= 0.5 / video["video"].shape[2]


def brighten_a_pixel(video: dict[str, Any]) -> None:
    video["video"][-1, 30, 40, 0] ^= 64


def write_willow(root: Path) -> Path:
    for category in ("car(G)", "duck(S)"):
        for index in range(2):
            picture(root / category / f"{index:03d}.png", (60, 45), index)
            points = np.random.default_rng(index).uniform(5, 40, (2, 10))
            savemat(root / category / f"{index:03d}.mat", {"pts_coord": points})
    return root


def write_boxed(root: Path) -> Path:
    """PF-Pascal whose annotation is complete."""
    write_pf_pascal(root)
    pf_pascal_annotation(root, "cat", "2008_000001", np.full((4, 2), 9.0), (10, 20, 210, 170))
    return root


def write_lines(root: Path) -> Path:
    """A folder of the plugin that the docs print; trn and test have images of their own."""
    for split in ("trn", "test"):
        for name in ("a", "b"):
            picture(root / f"{split}-{name}.png", (40, 30), ord(name))
        pair = {
            "category": "bird",
            "source": f"{split}-a.png",
            "target": f"{split}-b.png",
            "source_points": [[1, 2], [30, 20]],
            "target_points": [[3, 4], [25, 15]],
        }
        (root / f"{split}.jsonl").write_text(json.dumps(pair) + "\n", encoding="utf-8")
    return root


SPAIR = (
    write_folder,
    in_json("PairAnnotation/test/*.json", moved("src_kps", 0, 0)),
    bit_of("JPEGImages/bird/*.jpg"),
    in_json("PairAnnotation/test/*.json", moved("src_bndbox", 0, by=1)),
)
PF_PASCAL = in_text("image_pairs/test_pairs.csv", "100.125", "100.625"), bit_of(f"{JPEG}/2008_000001.jpg")
LAYOUTS = {
    "pairs": Layout(*SPAIR, "here"),
    "spair71k": Layout(*SPAIR, "spair71k"),
    "coco": Layout(
        write_coco,
        in_json("annotations/test.json", moved("annotations", 0, "keypoints", 0)),
        bit_of("images/*.jpg"),
        in_json("annotations/test.json", moved("annotations", 0, "bbox", 0, by=1)),
        "here",
    ),
    "ap10k": Layout(
        lambda root: write_ap10k(root, pictures=False),  # they are hashed, and not decoded, before a run
        in_json("annotations/ap10k-test-split1.json", moved("annotations", -1, "keypoints", 0)),
        lambda root: grown(root / "data" / f"{122:012d}.jpg"),
        in_json("annotations/ap10k-test-split1.json", moved("annotations", -1, "bbox", 0, by=1)),
        "ap10k",
    ),
    "pf_willow": Layout(
        write_willow, in_mat("car(G)/*.mat", "pts_coord", (0, 3)), bit_of("car(G)/*.png"), None, "pf_willow"
    ),
    "pf_pascal": Layout(write_pf_pascal, *PF_PASCAL, None, "pf_pascal"),
    "pf_pascal by box": Layout(
        write_boxed,
        *PF_PASCAL,
        in_mat("PF-dataset-PASCAL/Annotations/cat/*.mat", "bbox", (0, 2)),
        "pf_pascal-box",
        ("dataset.threshold=box",),
    ),
    "tapvid_davis": Layout(
        write_videos, in_videos(move_a_track), in_videos(brighten_a_pixel), None, "tapvid_davis-first"
    ),
    "lines": Layout(
        write_lines,
        in_text("test.jsonl", "[1, 2]", "[1.5, 2]"),
        bit_of("test-a.png"),
        None,
        "here",
    ),
}

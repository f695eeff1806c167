"""Sound folders of every layout, each with the file in it that is damaged, and how."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from peftcorr.data.base import DatasetSource, PairDataset
from peftcorr.data.layouts.ap10k import Ap10k
from peftcorr.data.layouts.coco import Coco
from peftcorr.data.layouts.pf_pascal import PfPascal
from peftcorr.data.layouts.pf_willow import PfWillow
from peftcorr.data.layouts.points import Points
from peftcorr.data.layouts.spair import SpairFolder
from peftcorr.data.layouts.tapvid import TapvidDavis, TapvidKinetics
from tests.data.layouts.array_mutations import damaged_mat, damaged_pickle
from tests.data.layouts.list_mutations import damaged_csv, damaged_lines
from tests.data.layouts.mutations import Damaged, damaged_json
from tests.labelled_exports import write_deeplabcut, write_label_studio
from tests.published_layouts import (
    SPECIES,
    ap10k_content,
    coco_content,
    picture,
    write_ap10k,
    write_coco,
    write_json,
    write_pf_pascal,
)
from tests.small_videos import make_video, write_pickle

Damage = Callable[[Random], Damaged]


@dataclass
class Case:
    """A sound folder, the file in it that is damaged, and the split that is then read.

    Attributes:
        names: pattern of what an error has to name beside the file: a field of it, a line, or why it is unreadable.
    """

    kind: type[DatasetSource]
    root: Path
    path: Path
    damage: Damage
    names: str
    options: dict[str, Any]
    split: str = "test"

    def load(self, cache: Path) -> PairDataset:
        """Read the split as it is now; `cache` must be a new folder."""
        return self.kind(self.kind.Config.model_validate(self.options), self.root, cache).load(self.split)


def _spair(maker: Any) -> tuple[Path, Path, list[str]]:
    root = maker.write(("test",))
    layout = root / "Layout" / "large" / "test.txt"
    return root, layout, layout.read_text(encoding="utf-8").splitlines()


def spair_annotation(base: Path, request: pytest.FixtureRequest) -> Case:
    root, layout, names = _spair(request.getfixturevalue("spair"))
    layout.write_text("".join(f"{name}\n" for name in names[:3]), encoding="utf-8")
    path = root / "PairAnnotation" / "test" / f"{names[1]}.json"
    content = json.loads(path.read_bytes())
    fields = (
        r"category|(src|trg)_(imname|imsize|bndbox|kps)|kps_ids|\w+_variation|truncation|occlusion|mirror"
    )
    return Case(SpairFolder, root, path, lambda r: damaged_json(r, content), f"{fields}|{_JSON}", {})


def spair_layout(base: Path, request: pytest.FixtureRequest) -> Case:
    root, layout, names = _spair(request.getfixturevalue("spair"))
    return Case(
        SpairFolder, root, layout, lambda r: damaged_lines(r, names[:4]), r"line \d|UTF-8|lists no", {}
    )


def pf_willow(base: Path, request: pytest.FixtureRequest) -> Case:
    root = request.getfixturevalue("make_willow")(2)
    path = root / "duck(S)" / "001.mat"
    points = {"pts_coord": loadmat(path)["pts_coord"]}
    return Case(
        PfWillow, root, path, lambda r: damaged_mat(r, points), "pts_coord|no readable MATLAB file", {}
    )


def pf_pascal_listed(base: Path, request: pytest.FixtureRequest) -> Case:
    root = write_pf_pascal(base / "pf-pascal")
    path = root / "image_pairs" / "test_pairs.csv"
    text = path.read_text(encoding="utf-8")
    names = r"line \d|UTF-8|lists no|no table"
    return Case(PfPascal, root, path, lambda r: damaged_csv(r, text), names, {})


def pf_pascal_annotated(base: Path, request: pytest.FixtureRequest) -> Case:
    root = write_pf_pascal(base / "pf-pascal")
    path = root / "PF-dataset-PASCAL" / "Annotations" / "cat" / "2009_000003.mat"
    variables = {name: value for name, value in loadmat(path).items() if not name.startswith("_")}
    names = "kps|bbox|no readable MATLAB file"
    return Case(PfPascal, root, path, lambda r: damaged_mat(r, variables), names, {"threshold": "box"}, "val")


def coco(base: Path, request: pytest.FixtureRequest) -> Case:
    root = write_coco(base / "farm", ("test",))
    path = root / "annotations" / "test.json"
    content = coco_content()
    return Case(Coco, root, path, lambda r: damaged_json(r, content), f"{_COCO}|{_JSON}", {})


def ap10k(base: Path, request: pytest.FixtureRequest) -> Case:
    """Three dogs and four elephants."""
    root = write_ap10k(base / "ap-10k", pictures=False)
    kept = [number for number, (_, _, images) in SPECIES.items() if images < 5]
    parts = ap10k_content()
    for split, part in parts.items():
        part["annotations"] = [a for a in part["annotations"] if a["category_id"] in kept]
        there = {annotation["image_id"] for annotation in part["annotations"]}
        part["images"] = [image for image in part["images"] if image["id"] in there]
        write_json(root / "annotations" / f"ap10k-{split}-split1.json", part)
    path = root / "annotations" / "ap10k-train-split1.json"
    return Case(Ap10k, root, path, lambda r: damaged_json(r, parts["train"]), f"{_COCO}|{_JSON}", {})


def ap10k_crowds(base: Path, request: pytest.FixtureRequest) -> Case:
    made = ap10k(base, request)
    path = made.root / "ap-10k_is_crowd.txt"
    lines = [f"{number:012d}" for number in (118, 5, 30)]
    return Case(Ap10k, made.root, path, lambda r: damaged_lines(r, lines), r"line \d|UTF-8", {})


def tapvid(base: Path, request: pytest.FixtureRequest) -> Case:
    videos = {f"video-{n}": make_video(n, 4, 5, 24, 8) for n in range(2)}
    root = write_pickle(base / "tapvid" / "tapvid_davis.pkl", videos)
    names = "video|points|occluded|no pickle of numpy arrays alone"
    path = root / "tapvid_davis.pkl"
    return Case(TapvidDavis, root, path, lambda r: damaged_pickle(r, videos), names, {})


def label_studio(base: Path, request: pytest.FixtureRequest) -> Case:
    """One file for all splits, as a tool exports it; an object each without keypoints."""
    root = write_label_studio(base / "mice", 4)
    path = root / "result.json"
    content = json.loads(path.read_bytes())
    options = {"annotations": "result.json", "images": "."}
    return Case(Coco, root, path, lambda r: damaged_json(r, content), f"{_COCO}|{_JSON}", options)


def split_list(base: Path, request: pytest.FixtureRequest) -> Case:
    made = label_studio(base, request)
    images = [image["file_name"].replace("\\", "/") for image in json.loads(made.path.read_bytes())["images"]]
    path = made.root / "splits" / "test.txt"
    path.parent.mkdir()
    path.write_text("".join(f"{image}\n" for image in images), encoding="utf-8")
    names = r"line \d|UTF-8|lists|keypoints in common|has no split|lie outside"
    return Case(Coco, made.root, path, lambda r: damaged_lines(r, images), names, made.options)


def points(base: Path, request: pytest.FixtureRequest) -> Case:
    root = base / "pets"
    lines = ["image,keypoint,x,y,category,visible,object,split"]
    for n in range(3):
        picture(root / f"{n}.jpg", (60, 40), n)
        lines += [
            f"{n}.jpg,{name},{5 + 9 * k + n},{7 + 4 * k},cat,1,,test"
            for k, name in enumerate(("a", "b", "c"))
        ]
    path = root / "points.csv"
    path.write_text(text := "\n".join(lines) + "\n", encoding="utf-8")
    names = r"line \d|UTF-8|lists no|no table|missing image|keypoints in common|has no split|lie outside"
    return Case(Points, root, path, lambda r: damaged_csv(r, text), names, {})


def deeplabcut(base: Path, request: pytest.FixtureRequest) -> Case:
    root = write_deeplabcut(base / "reach", videos=1, frames=4, animals=("one", "two"))
    path = root / "labeled-data" / "reach-1" / "CollectedData_Ada.csv"
    text = path.read_text(encoding="utf-8")
    kinds = "first rows|the row coords|column|missing image|keypoints in common|lie outside"
    names = rf"line \d|UTF-8|lists no|no table|{kinds}"
    return Case(Points, root, path, lambda r: damaged_csv(r, text), names, {})


def kinetics(base: Path, request: pytest.FixtureRequest) -> Case:
    """A list of videos whose frames are the bytes of JPEG files."""
    videos = [make_video(n, 3, 4, 24, 16) for n in range(2)]
    content: Any = [
        {**video, "video": np.array([_jpeg(frame) for frame in video["video"]])} for video in videos
    ]
    root = write_pickle(base / "kinetics" / "0000_of_0010.pkl", content)
    names = "video|points|occluded|no pickle of numpy arrays alone"
    named = {f"{n}": video for n, video in enumerate(content)}
    return Case(
        TapvidKinetics, root, root / "0000_of_0010.pkl", lambda r: damaged_pickle(r, named), names, {}
    )


def _jpeg(frame: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "JPEG")
    return stream.getvalue()


_JSON = "the file is|not valid JSON|not UTF-8"
_COCO = "images|annotations|categories|file_name|keypoints in common|lie outside"
CASES: list[Any] = [
    spair_annotation,
    spair_layout,
    pf_willow,
    pf_pascal_listed,
    pf_pascal_annotated,
    coco,
    label_studio,
    split_list,
    points,
    deeplabcut,
    ap10k,
    ap10k_crowds,
    tapvid,
    kinetics,
]

"""The archives of every dataset, small, in the layout in which they are published."""

from __future__ import annotations

import itertools
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from peftcorr.data.layouts.pf_pascal_list import CLASSES
from tests.conftest import SpairMaker
from tests.published_layouts import (
    JPEG,
    ap10k_content,
    pf_pascal_annotation,
    pf_pascal_list,
    picture,
    write_ap10k,
    write_json,
)
from tests.small_videos import Video, make_video, write_pickle

WILLOW_CLASSES = (
    "car(G)", "car(M)", "car(S)", "duck(S)", "motorbike(G)", "motorbike(M)", "motorbike(S)",
    "winebottle(M)", "winebottle(wC)", "winebottle(woC)",
)  # fmt: skip


def spair_archive(folder: Path) -> Path:
    """``SPair-71k.tar.gz`` with 12 pairs of 6 images a split, 4 keypoints each; the parts that no loader reads too."""
    maker = SpairMaker(folder / "made" / "SPair-71k")
    root = maker.write()
    names = (root / "Layout" / "large" / "test.txt").read_text(encoding="utf-8").split()
    maker.list("test", names[:2], layout="small")
    for part in ("ImageAnnotation", "Segmentation"):
        for category in maker.categories:
            (root / part / category).mkdir(parents=True)
            for image in maker.images:
                (root / part / category / f"{image}.json").write_text("{}", encoding="utf-8")
    (root / "devkit").mkdir()
    (root / "devkit" / "README").write_text("SPair-71k\n", encoding="utf-8")
    with tarfile.open(folder / "SPair-71k.tar.gz", "w:gz") as archive:
        archive.add(root, "SPair-71k")
    return folder / "SPair-71k.tar.gz"


def willow_archive(folder: Path, images: int = 10) -> Path:
    """``PF-dataset.zip``: ten classes, with what a Mac adds beside the folder."""
    made = folder / "made"
    made.mkdir()
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "PF-dataset.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("PF-dataset") if hasattr(archive, "mkdir") else archive.writestr("PF-dataset/", "")
        for category in WILLOW_CLASSES:
            for index in range(images):
                stem = f"{category.split('(')[0]}_{index:03d}"
                Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(made / "image.png")
                savemat(made / "points.mat", {"pts_coord": rng.uniform(0, 8, (2, 10))})
                archive.write(made / "image.png", f"PF-dataset/{category}/{stem}.png")
                archive.write(made / "points.mat", f"PF-dataset/{category}/{stem}.mat")
                archive.writestr(f"__MACOSX/PF-dataset/{category}/._{stem}.png", "finder")
    return folder / "PF-dataset.zip"


def _zip(path: Path, folder: Path) -> Path:
    """Zip a folder under its name, folders as members of their own, with what a Mac adds beside it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in (folder, *sorted(folder.rglob("*"))):
            archive.write(member, member.relative_to(folder.parent))
        archive.writestr(f"__MACOSX/{folder.name}/._.DS_Store", "finder")
    return path


def pascal_archives(folder: Path) -> tuple[Path, Path]:
    """``PF-dataset-PASCAL.zip`` and ``pf-pascal_image_pairs.zip``, with the published numbers of classes and rows.

    A class has five photographs and seven landmarks, and photograph k lacks landmark k: any two share five. The trn
    list names each of the 400 pairs several times, as photographed and mirrored.
    """
    root = folder / "made"
    photographs = root / "PF-dataset-PASCAL"
    landmarks = {}
    for number, category in enumerate(CLASSES):
        for index in range(5):
            name = number, index
            seed = 5 * number + index
            points = np.random.default_rng(seed).uniform(5, 195, (7, 2)).round(4)
            points[index] = np.nan
            landmarks[name] = points
            picture(root / _photograph(name), (300, 200) if index % 2 else (200, 300), seed)
            pf_pascal_annotation(root, category, Path(_photograph(name)).stem, points, (8, 9, 180, 190))
    for more in ("Annotations/.DS_Store", "index.html", "html/cat.html"):
        (photographs / more).parent.mkdir(exist_ok=True)
        (photographs / more).write_text("of no use here", encoding="utf-8")
    savemat(photographs / "parsePascalVOC.mat", {"PascalVOC": {"class": list(CLASSES)}})

    pairs = [
        ((number, one), (number, other))
        for one, other in itertools.permutations(range(5), 2)
        for number in range(len(CLASSES))
    ]
    rows: dict[str, list[list[object]]] = {"trn": [], "val": [], "test": []}
    for row, (source, target) in zip(range(2940), itertools.cycle(pairs), strict=False):
        rows["trn"].append([_photograph(source), _photograph(target), source[0] + 1, row // 400 % 2])
    for split, part in (("val", pairs[-308:]), ("test", pairs[:299])):
        for source, target in part:
            both = ~np.isnan(landmarks[source] + landmarks[target]).any(axis=1)
            axes = (*landmarks[source][both].T, *landmarks[target][both].T)
            listed = [";".join(map(str, axis.tolist())) for axis in axes]
            rows[split].append([_photograph(source), _photograph(target), source[0] + 1, *listed])
    lists = root / "pf-pascal_image_pairs"
    for split, part in rows.items():
        header = "flip" if split == "trn" else "XA,YA,XB,YB"
        pf_pascal_list(lists, split, part, f"source_image,target_image,class,{header}", f"{split}_pairs.csv")
    return _zip(folder / "PF-dataset-PASCAL.zip", photographs), _zip(folder / f"{lists.name}.zip", lists)


def _photograph(name: tuple[int, int]) -> str:
    number, index = name
    return f"{JPEG}/{2008 + index % 3}_{5 * number + index:06d}.jpg"


def ap10k_archives(folder: Path, crowd: int) -> tuple[Path, Path]:
    """``ap-10k.zip`` with all three published ways to split it, and the crowd list apart, with one image."""
    root = write_ap10k(folder / "made" / "ap-10k", (crowd,))
    crowds = (root / "ap-10k_is_crowd.txt").rename(folder / "ap-10k_is_crowd.txt")
    content = ap10k_content()
    for way, parts in ((2, ("val", "test", "train")), (3, ("test", "train", "val"))):
        for split, part in zip(content, parts, strict=True):
            write_json(root / "annotations" / f"ap10k-{split}-split{way}.json", content[part])
    return _zip(folder / "ap-10k.zip", root), crowds


def davis_videos() -> dict[str, Video]:
    """Thirty videos, as many as are published, with points of the published precision."""
    videos = {}
    for number in range(30):
        video = make_video(number, frames=5, width=48, height=32)
        videos[f"video-{number:02d}"] = {**video, "points": video["points"].astype(np.float32)}
    return videos


def davis_archive(folder: Path) -> Path:
    """``tapvid_davis.zip``: the pickle and what there is to read about it."""
    root = write_pickle(folder / "made" / "tapvid_davis" / "tapvid_davis.pkl", davis_videos())
    for name in ("README.md", "SOURCES.md"):
        (root / name).write_text("of DAVIS 2017\n", encoding="utf-8")
    return _zip(folder / "tapvid_davis.zip", root)

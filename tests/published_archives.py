"""SPair-71k's and PF-Willow's archives, small, in the layout in which they are published."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from tests.conftest import SpairMaker

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

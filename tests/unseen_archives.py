"""The archives of SPair-U, MP-100 and CUB-200-2011, small, in the layout in which they are published."""

from __future__ import annotations

import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from tests.published_archives import spair_archive
from tests.published_layouts import coco_category, coco_image, coco_object, picture, write_json

PARTS = ("back", "beak", "belly", "left eye")
BIRDS = ("001.Black_footed_Albatross", "002.Laysan_Albatross")


def spair_u_archives(folder: Path) -> tuple[Path, Path]:
    """``SPair-U.zip`` and ``SPair-71k.tar.gz``: eight of its twelve test pairs, with two keypoints that it has not."""
    spair = spair_archive(folder)
    made = folder / "made" / "SPair-71k"
    names = (made / "Layout" / "large" / "test.txt").read_text(encoding="utf-8").split()
    with zipfile.ZipFile(folder / "SPair-U.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names[:8]:
            pair: dict[str, Any] = json.loads((made / "PairAnnotation" / "test" / f"{name}.json").read_text())
            for side in ("src_kps", "trg_kps"):
                pair[side] = [[x + 1, y + 1] for x, y in pair[side][:2]]
            pair["kps_ids"] = ["0", "1"]
            archive.writestr(f"datasets/SPair-U/PairAnnotation/test/{name}.json", json.dumps(pair))
            stem = pair["src_imname"].rpartition(".")[0]
            path = f"datasets/SPair-U/ImageAnnotation/{pair['category']}/{stem}.json"
            if path not in archive.namelist():
                archive.writestr(path, "{}")
    return folder / "SPair-U.zip", spair


def mp100_content() -> dict[str, dict[str, Any]]:
    """The three files of a split, of one category each, four images a category; keypoints have no names."""
    content: dict[str, dict[str, Any]] = {}
    for category, (word, name) in enumerate(
        (("train", "beaver_body"), ("val", "sofa"), ("test", "human_face")), 1
    ):
        numbers = range(10 * category, 10 * category + 4)
        place = f"{name}/helen/trainset" if name == "human_face" else name
        content[word] = {
            "info": {},
            "images": [coco_image(n, name=f"{place}/{n}.jpg") for n in numbers],
            "annotations": [coco_object(n, category, range(n % 4, 5)) for n in numbers],
            "categories": [coco_category(category, name, "", ())],
        }
    return content


def mp100_archive(folder: Path) -> Path:
    """``mp100.zip``: the folder that its README says how to put together; five splits of the same categories."""
    root = folder / "made" / "mp100"
    for word, part in mp100_content().items():
        for number in range(1, 6):
            write_json(root / "annotations" / f"mp100_split{number}_{word}.json", part)
        for image in part["images"]:
            picture(root / image["file_name"], (60, 40), image["id"])
    with zipfile.ZipFile(folder / "mp100.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*")):
            archive.write(path, Path("mp100") / path.relative_to(root))
    return folder / "mp100.zip"


def cub_archive(folder: Path) -> Path:
    """``CUB_200_2011.tgz``: six birds of each of two species, three to test on; of each bird one part is hidden."""
    root = folder / "made" / "CUB_200_2011"
    lines: dict[str, list[str]] = {}

    def line(file: str, *cells: object) -> None:
        lines.setdefault(file, []).append(" ".join(map(str, cells)))

    for number, part in enumerate(PARTS, start=1):
        line("parts/parts.txt", number, part)
    for kind, name in enumerate(BIRDS, start=1):
        line("classes.txt", kind, name)
        for index in range(6):
            image = 6 * (kind - 1) + index + 1
            path = f"{name}/{name[4:]}_{image:04d}.jpg"
            picture(root / "images" / path, (60, 40), image)
            line("images.txt", image, path)
            line("image_class_labels.txt", image, kind)
            line("train_test_split.txt", image, int(index < 3))
            line("bounding_boxes.txt", image, 4.0, 5.0, 40.0, 30.0 + index)
            for part in range(1, len(PARTS) + 1):
                seen = part != index % len(PARTS) + 1
                place = (5.0 + 3 * part + index, 6.0 + 2 * part) if seen else (0.0, 0.0)
                line("parts/part_locs.txt", image, part, *place, int(seen))
    for file, rows in lines.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    (root.parent / "attributes.txt").write_text("1 has_bill_shape::curved\n", encoding="utf-8")
    with tarfile.open(folder / "CUB_200_2011.tgz", "w:gz") as archive:
        archive.add(root.parent / "attributes.txt", "attributes.txt")
        archive.add(root, "CUB_200_2011")
    return folder / "CUB_200_2011.tgz"

"""Keypoints that are no pixels of their images are refused whatever layout they come in: scored they would be 0.00."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from peftcorr.data.base import DatasetSource
from peftcorr.data.layouts.ap10k import Ap10k
from peftcorr.data.layouts.coco import Coco
from peftcorr.data.layouts.pf_pascal import PfPascal
from peftcorr.data.layouts.pf_willow import PfWillow
from peftcorr.data.layouts.spair import Spair71k, SpairFolder
from peftcorr.errors import PeftCorrError
from tests.published_layouts import write_ap10k, write_coco, write_pf_pascal

Move = Callable[[float], float]


def move_json(path: Path, fields: tuple[str, ...], step: int, move: Move) -> None:
    """Change coordinates: of each `step` numbers the first two."""

    def walk(node: Any) -> None:
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            if key in fields and value and not isinstance(value[0], str):
                flat = np.array(value, dtype=float).reshape(-1, step)
                seen = np.ones(len(flat), bool) if step == 2 else flat[:, 2] > 0
                flat[seen, :2] = [[move(x) for x in row] for row in flat[seen, :2]]
                node[key] = flat.tolist() if step == 2 else flat.reshape(-1).tolist()
            elif isinstance(value, (dict, list)):
                walk(value)

    content = json.loads(path.read_text(encoding="utf-8"))
    walk(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def coco(tmp_path: Path, move: Move) -> DatasetSource:
    root = write_coco(tmp_path / "farm")
    move_json(root / "annotations" / "test.json", ("keypoints",), 3, move)
    return Coco(Coco.Config(), root, tmp_path / "cache")


def ap10k(tmp_path: Path, move: Move) -> DatasetSource:
    root = write_ap10k(tmp_path / "ap-10k")
    for path in (root / "annotations").iterdir():
        move_json(path, ("keypoints",), 3, move)
    return Ap10k(Ap10k.Config(), root, tmp_path / "cache")


def willow(tmp_path: Path, move: Move, make_willow: Callable[..., Path]) -> DatasetSource:
    root = make_willow()
    for path in root.rglob("*.mat"):
        points = loadmat(path)["pts_coord"]
        savemat(path, {"pts_coord": np.vectorize(move)(points)})
    return PfWillow(PfWillow.Config(), root, tmp_path / "cache")


def pascal(tmp_path: Path, move: Move) -> DatasetSource:
    root = write_pf_pascal(tmp_path / "pascal")
    path = root / "image_pairs" / "test_pairs.csv"
    numbers = re.compile(r"(?<=[,;])\d+\.?\d*(?=;|\d*\.|,|$)", re.M)
    header, *rows = path.read_text().splitlines()
    moved = [
        ",".join([*row.split(",")[:3], *(numbers.sub(lambda m: str(move(float(m[0]))), f",{cell}")[1:] for cell in
        row.split(",")[3:])]) for row in rows
    ]  # fmt: skip
    path.write_text("\n".join([header, *moved]) + "\n")
    return PfPascal(PfPascal.Config(), root, tmp_path / "cache")


def spair(
    tmp_path: Path, move: Move, spair_root: Path, cls: type[SpairFolder] = SpairFolder
) -> DatasetSource:
    for path in (spair_root / "PairAnnotation" / "test").iterdir():
        move_json(path, ("src_kps", "trg_kps"), 2, move)
    return cls(cls.Config(), spair_root, tmp_path / "cache")


@pytest.fixture
def made(
    tmp_path: Path, spair_root: Path, make_willow: Callable[..., Path]
) -> Callable[[str, Move], DatasetSource]:
    makers: dict[str, Callable[[Move], DatasetSource]] = {
        "coco": lambda move: coco(tmp_path, move),
        "ap10k": lambda move: ap10k(tmp_path, move),
        "pf_willow": lambda move: willow(tmp_path, move, make_willow),
        "pf_pascal": lambda move: pascal(tmp_path, move),
        "pairs": lambda move: spair(tmp_path, move, spair_root),
        "spair71k": lambda move: spair(tmp_path, move, spair_root, Spair71k),
    }
    return lambda name, move: makers[name](move)


@pytest.mark.parametrize("name", ["coco", "ap10k", "pf_willow", "pf_pascal", "pairs", "spair71k"])
@pytest.mark.parametrize(
    "wrong", [lambda x: x + 500, lambda x: 40 * x + 400], ids=["from 500 on", "times 40"]
)
def test_another_frame_is_refused_with_its_count(
    made: Callable[[str, Move], DatasetSource], name: str, wrong: Move
) -> None:
    with pytest.raises(PeftCorrError) as caught:
        made(name, wrong).load("test")
    told = str(caught.value)
    assert "\n" not in told
    assert len(told) < 600
    if name == "pf_pascal":  # whose list is of another frame and names the line
        assert "which lies outside the photograph at 300 px" in told
    else:
        assert re.search(
            r"/test: ([\d,]+) of \1 keypoints lie outside of their images, the first at \(.*\) of .* which is "
            r"\d+ x \d+ \(.*: (keypoints|pts_coord|src_kps)\): give pixels of the original image",
            told,
        )


@pytest.mark.parametrize("name", ["coco", "ap10k", "pf_willow", "pf_pascal", "pairs", "spair71k"])
def test_a_few_pixels_beyond_the_edge_pass(made: Callable[[str, Move], DatasetSource], name: str) -> None:
    dataset = made(name, lambda x: x - 3 if x < 3 else x).load("test")
    assert len(dataset)
    assert not dataset.notes


def _one_astray(root: Path, pairs: int) -> None:
    """Many copies of the pairs of a folder, of which one has a keypoint far outside."""
    layout = root / "Layout" / "large" / "test.txt"
    names = layout.read_text().split()
    folder = root / "PairAnnotation" / "test"
    made = []
    for number in range(pairs):
        name = names[number % len(names)]
        made.append(f"{number}-{name}")
        shutil.copy(folder / f"{name}.json", folder / f"{made[-1]}.json")
    layout.write_text("\n".join(made) + "\n")
    path = folder / f"{made[0]}.json"
    content = json.loads(path.read_text())
    content["src_kps"][0] = [500, 20]
    path.write_text(json.dumps(content))


def test_what_a_publishers_files_have_is_a_warning_with_its_count(spair_root: Path, tmp_path: Path) -> None:
    _one_astray(spair_root, 60)
    dataset = Spair71k(Spair71k.Config(), spair_root, tmp_path / "cache").load("test")
    [note] = dataset.notes
    assert re.match(
        r"Warning: spair71k/test: 1 of 480 keypoints lie outside of their images, the first at \(500, 20\)",
        note,
    )
    with pytest.raises(PeftCorrError, match=r"farm/test: 1 of 480 keypoints lie outside"):
        SpairFolder(SpairFolder.Config(), spair_root, tmp_path / "cache").load("test")

"""Likely mistakes of annotation come first, and the contact sheet shows where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from peftcorr.data.contact_sheet import MOST, contact_sheet
from peftcorr.data.layouts.points import Points
from peftcorr.data.suspects import AnnotatedImage, suspects
from tests.published_layouts import picture

SHAPE = {"nose": (10, 40), "left ear": (30, 10), "right ear": (45, 14), "tail": (120, 30), "front paw": (40, 75),
         "back paw": (110, 78)}  # fmt: skip
SIZE = (160, 120)


def write(root: Path, places: dict[str, dict[str, tuple[float, float]]]) -> Path:
    lines = ["image,category,keypoint,x,y"]
    for name, points in places.items():
        picture(root / name, SIZE, len(lines))
        lines += [f"{name},cat,{keypoint},{x},{y}" for keypoint, (x, y) in points.items()]
    (root / "points.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def posed(count: int, seed: int = 0) -> dict[str, dict[str, tuple[float, float]]]:
    """The shape turned, scaled, every other time mirrored, and a little off at random."""
    rng = np.random.default_rng(seed)
    found = {}
    for n in range(count):
        points = np.array(list(SHAPE.values())) - (60, 45)
        points = points * ((-1, 1) if n % 2 else (1, 1)) * rng.uniform(0.4, 0.8)
        angle = rng.uniform(-0.4, 0.4)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points = points @ turn + (80, 60) + rng.normal(0, 1, points.shape)
        found[f"{n:02d}.jpg"] = {k: (float(x), float(y)) for k, (x, y) in zip(SHAPE, points, strict=True)}
    return found


def look(root: Path) -> list[AnnotatedImage]:
    return suspects(Points(Points.Config(), root, root.parent / "cache").load("test"))


def test_sound_annotation_is_not_suspected(tmp_path: Path) -> None:
    found = look(write(tmp_path / "cats", posed(12)))
    assert {one.image for one in found} == {f"{n:02d}.jpg" for n in range(12)}
    assert max(one.suspicion for one in found) < 2.5
    assert all(len(one.points) == 6 for one in found)


def test_each_kind_of_mistake_comes_before_sound_images(tmp_path: Path) -> None:
    places = posed(16)
    exchanged = places["05.jpg"]
    exchanged["left ear"], exchanged["tail"] = exchanged["tail"], exchanged["left ear"]
    places["07.jpg"]["front paw"] = places["07.jpg"]["back paw"]
    places["09.jpg"]["tail"] = (163.5, 30.0)
    root = write(tmp_path / "cats", places)
    dataset = Points(Points.Config(), root, tmp_path / "cache").load("test")
    (root / "11.jpg").write_bytes(b"no image")
    found = suspects(dataset)
    assert [one.image for one in found[:4]] == ["11.jpg", "09.jpg", "07.jpg", "05.jpg"]
    assert [one.why for one in found[:3]] == ["cannot be read", "1 outside: tail", "2 at one place: back paw"]
    assert found[1].names[found[1].worst or 0] == "tail"
    assert found[3].why.split(":")[0] in ("left ear", "tail")
    assert found[3].suspicion > 2 * found[4].suspicion


def test_few_keypoints_or_images_suspect_nobody(tmp_path: Path) -> None:
    names = list(SHAPE)[:3]
    places = {image: {k: points[k] for k in names} for image, points in posed(3).items()}
    assert all(one.suspicion == 0 for one in look(write(tmp_path / "cats", places)))


@pytest.mark.parametrize("count", [1, 9, MOST + 3])
def test_sheet_shows_keypoints_where_they_are(tmp_path: Path, count: int) -> None:
    Image.new("RGB", SIZE, "#808080").save(tmp_path / "grey.png")
    Image.new("RGB", (60, 120), "#808080").save(tmp_path / "high.png")
    found = [
        AnnotatedImage(
            "val",
            "cat",
            "high.png" if n == 1 else "grey.png",
            [],
            ["a", "b"],
            np.array([[0.0, 0], [59, 119]]),
        )
        for n in range(count)
    ]
    found[0].suspect(9.0, "a: 9.0 times the usual", 0)
    sheet = np.asarray(contact_sheet(found, {"val": tmp_path}))
    columns, shown = min(count, 8), min(count, MOST)
    assert sheet.shape == (8 + -(-shown // columns) * 278, 8 + columns * 244, 3)
    first = sheet[8:244, 8:244]
    assert (first[20, 200] == 255).all(), "paper above the photograph"
    row, column = round(119.5 * 236 / 160) + 29, round(59.5 * 236 / 160)
    assert len(np.unique(first[row - 4 : row + 4, column - 4 : column + 4].reshape(-1, 3), axis=0)) > 2, (
        "a dot"
    )
    red = (sheet[..., 0] > 190) & (sheet[..., 1] < 60) & (sheet[..., 2] < 70)
    assert red[8:286, 8:244].any()
    assert (sheet[8 + 236 : 8 + 270, 8:244] != 255).any(), "a caption"


def test_an_image_that_cannot_be_decoded_has_an_empty_cell(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    one = AnnotatedImage("trn", "cat", "é\u202e" * 40 + "a.png", [], ["a"], np.zeros((1, 2)))
    sheet = np.asarray(contact_sheet([one], {"trn": tmp_path}))
    assert (sheet[20:240, 20:240] == 255).all()
    assert contact_sheet([], {}).size == (252, 286)

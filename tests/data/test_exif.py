"""Photographs that are stored turned: annotated as stored or as shown, and read in that frame by whoever reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from peftcorr.cli import main
from peftcorr.data.base import PairDataset
from peftcorr.data.correspondences import correspondences
from peftcorr.data.decode import read_header
from peftcorr.data.exif import Header
from peftcorr.data.identity import annotation_digest
from peftcorr.data.images import ImageStore, decode
from peftcorr.data.layouts.coco import Coco
from peftcorr.data.layouts.pf_pascal import PfPascal
from peftcorr.data.layouts.pf_willow import PfWillow
from peftcorr.errors import PeftCorrError
from peftcorr.results.store import Store
from tests.published_layouts import coco_category, coco_image, picture, write_json, write_pf_pascal

SIZE = (90, 60)
# What undoes each orientation: a picture that is stored so is shown upright by it.
STORING = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
WIDE = [(3.0, 4.0), (84.0, 7.0), (40.0, 30.0), (70.0, 50.0)]  # some lie outside the stored picture
NARROW = [(30.0, 10.0), (50.0, 20.0), (40.0, 30.0), (35.0, 50.0)]  # inside both


def store_turned(upright: Path, path: Path, orientation: int) -> None:
    """Write a picture as a camera does that is held so."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(upright) as image:
        image.transpose(STORING[orientation]).save(path, exif=exif)


def folder(
    root: Path, sizes: str, points: Sequence[tuple[float, float]], orientation: int = 6, kind: str = "png"
) -> Path:
    """Three pictures, each upright and stored turned, with keypoints as people see them; sizes as shown or stored."""
    images, objects = [], []
    for number in range(3):
        upright = picture(root / "images" / f"{number}.png", SIZE, number)
        store_turned(upright, root / "images" / f"{number}-turned.{kind}", orientation)
        stored = SIZE[::-1] if orientation > 4 else SIZE
        images += [
            coco_image(2 * number, SIZE, f"{number}.png"),
            coco_image(2 * number + 1, SIZE if sizes == "shown" else stored, f"{number}-turned.{kind}"),
        ]
        triples = [value for x, y in points for value in (x, y + number, 2)]
        objects += [
            {
                "id": image, "image_id": image, "category_id": 1, "bbox": [1, 1, 50, 50], "area": 2500, "iscrowd": 0,
                "num_keypoints": len(points), "keypoints": triples,
            }
            for image in (2 * number, 2 * number + 1)
        ]  # fmt: skip
    names = [f"k{number}" for number in range(len(points))]
    content = {
        "images": images,
        "annotations": objects,
        "categories": [coco_category(1, "dog", "pet", names)],
    }
    write_json(root / "annotations" / "test.json", content)
    return root


def load(root: Path, **options: Any) -> PairDataset:
    return Coco(Coco.Config.model_validate(options), root, root.parent / "cache").load("test")


def require_shown(dataset: PairDataset) -> None:
    """Each turned picture is read as its upright one is."""
    data = correspondences(dataset)
    store = ImageStore(dataset.image_root, 32)
    pixels = dict(zip(data.images, store.get(data.images, data.sizes), strict=True))
    sizes = dict(zip(data.images, store.sizes(data.images, data.sizes).tolist(), strict=True))
    kind = next(name for name in data.images if "turned" in name).partition(".")[2]
    for number in range(3):
        turned = f"{number}-turned.{kind}"
        assert (pixels[turned] == pixels[f"{number}.png"]).all()
        assert sizes[turned] == list(SIZE)
        size = data.sizes[data.images.index(turned)]
        plain = np.asarray(Image.open(dataset.image_root / f"{number}.png"))
        assert (decode(dataset.image_root / turned, size) == plain).all()


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("orientation", STORING)
def test_shown_reads_every_picture_as_people_see_it(tmp_path: Path, orientation: int, kind: str) -> None:
    for sizes in ("shown", "stored"):
        root = folder(tmp_path / sizes, sizes, WIDE, orientation, kind)
        require_shown(load(root, exif="shown"))


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("orientation", STORING)
def test_stored_reads_every_picture_as_it_is(tmp_path: Path, orientation: int, kind: str) -> None:
    root = folder(tmp_path / "farm", "stored", NARROW, orientation, kind)
    dataset = load(root, exif="stored")
    data = correspondences(dataset)
    for number in range(3):
        path = root / "images" / f"{number}-turned.{kind}"
        with Image.open(root / "images" / f"{number}.png") as upright:
            stored = np.asarray(upright.transpose(STORING[orientation]))
        size = data.sizes[data.images.index(path.name)]
        assert (decode(path, size) == stored).all()
        assert size[:2] == list(stored.shape[1::-1])


def test_a_size_that_only_the_shown_picture_has_decides(tmp_path: Path) -> None:
    dataset = load(folder(tmp_path / "farm", "shown", NARROW))
    require_shown(dataset)
    assert not dataset.notes


def test_keypoints_outside_the_stored_picture_prove_that_it_was_shown(tmp_path: Path) -> None:
    """As one widespread tool exports: the stored size, keypoints as people see them."""
    dataset = load(folder(tmp_path / "farm", "stored", WIDE))
    require_shown(dataset)
    [note] = dataset.notes
    assert (
        "3 images are stored turned (EXIF); by their keypoints 3 were annotated as shown, 0 as stored" in note
    )
    assert annotation_digest(dataset) == annotation_digest(load(tmp_path / "farm", exif="shown"))


@pytest.mark.parametrize(("orientation", "points"), [(6, NARROW), (3, WIDE), (2, WIDE), (8, NARROW)])
def test_where_nothing_tells_the_count_the_first_and_the_settings_are_said(
    tmp_path: Path, orientation: int, points: list[tuple[float, float]]
) -> None:
    root = folder(tmp_path / "farm", "stored", points, orientation)
    with pytest.raises(PeftCorrError) as caught:
        load(root)
    told = str(caught.value)
    assert "farm/test: 3 images are stored turned" in told
    assert str(root / "images" / "0-turned.png") in told
    assert "--set dataset.exif=stored or dataset.exif=shown" in told
    assert annotation_digest(load(root, exif="stored")) != annotation_digest(load(root, exif="shown"))


def test_pictures_that_tell_nothing_follow_those_that_do(tmp_path: Path) -> None:
    """One program reads all pictures alike."""
    root = folder(tmp_path / "farm", "stored", WIDE)
    path = root / "images" / "1-turned.png"
    store_turned(root / "images" / "1.png", path, 3)
    content = (root / "annotations" / "test.json").read_text()
    row = '"file_name": "1-turned.png", "width": 60, "height": 90'
    assert row in content
    (root / "annotations" / "test.json").write_text(
        content.replace(row, '"file_name": "1-turned.png", "width": 90, "height": 60')
    )
    require_shown(load(root))


def test_a_set_without_a_turned_picture_is_as_it_was(tmp_path: Path) -> None:
    root = folder(tmp_path / "farm", "shown", NARROW)
    content = Coco.Config().model_dump(mode="json")
    assert "exif" not in content, "so that run ids stay as they were"
    for path in (root / "images").glob("*-turned.png"):
        with Image.open(path.with_name(path.name.replace("-turned", ""))) as upright:
            upright.save(path)
    found = {annotation_digest(load(root, exif=exif)) for exif in ("auto", "stored", "shown")}
    assert len(found) == 1
    assert all(len(size) == 2 for size in load(root).table["source_size"])


def test_a_picture_without_an_annotated_size(tmp_path: Path) -> None:
    """PF-Willow has none: the keypoints alone tell."""
    root = tmp_path / "willow" / "cup(S)"
    for number in range(3):
        upright = picture(root / f"{number}.png", SIZE, number)
        savemat(root / f"{number}.mat", {"pts_coord": np.array(WIDE).T})
        if number == 1:
            store_turned(upright, root / "shown.png", 6)
            (root / "shown.png").replace(upright)
    dataset = PfWillow(PfWillow.Config(), root.parent, tmp_path / "cache").load("test")
    data = correspondences(dataset)
    assert data.sizes == [[], [*SIZE, 6], []]
    assert decode(root / "1.png", data.sizes[1]).shape == (60, 90, 3)
    with pytest.raises(PeftCorrError, match=r"keypoints lie outside .*1\.png, which is 60 x 90 as stored"):
        PfWillow(PfWillow.Config(exif="stored"), root.parent, tmp_path / "cache").load("test")


@pytest.mark.parametrize("kind", ["png", "jpg", "tiff", "webp"])
@pytest.mark.parametrize("orientation", [1, *STORING])
def test_a_header_tells_size_and_orientation(tmp_path: Path, kind: str, orientation: int) -> None:
    upright = picture(tmp_path / "upright.png", SIZE)
    if orientation == 1:
        with Image.open(upright) as image:
            image.save(tmp_path / f"it.{kind}")
    else:
        store_turned(upright, tmp_path / f"it.{kind}", orientation)
    stored = SIZE[::-1] if orientation > 4 else SIZE
    assert read_header(tmp_path / f"it.{kind}") == Header(stored, orientation)
    assert read_header(tmp_path / f"it.{kind}").shown == SIZE


def test_a_note_behind_the_pixels_is_read(tmp_path: Path) -> None:
    """PNG files may have it there."""
    upright = picture(tmp_path / "upright.png", SIZE)
    store_turned(upright, tmp_path / "it.png", 6)
    content = (tmp_path / "it.png").read_bytes()
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    moved = content[:start] + content[end:-12] + content[start:end] + content[-12:]
    (tmp_path / "it.png").write_bytes(moved)
    assert read_header(tmp_path / "it.png") == Header(SIZE[::-1], 6)


def test_one_picture_in_two_frames_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", SIZE)
    store_turned(tmp_path / "a.png", tmp_path / "b.png", 3)
    store = ImageStore(tmp_path, 16)
    store.add(["b.png"], [[*SIZE, 3]])
    with pytest.raises(PeftCorrError, match=r"b\.png is stored turned, .* dataset\.exif=shown"):
        store.add(["b.png"], [list(SIZE)])


def test_keypoints_in_neither_frame_are_said_to_be_so(tmp_path: Path) -> None:
    root = folder(tmp_path / "farm", "stored", [(x + 500, y) for x, y in WIDE])
    with pytest.raises(PeftCorrError, match="keypoints lie outside of their images"):
        load(root)


def test_pf_pascal_takes_the_frame_that_its_keypoints_prove(tmp_path: Path) -> None:
    """Its size is the file's own, so that it decides nothing."""
    root = write_pf_pascal(tmp_path / "pascal")
    upright = root / "PF-dataset-PASCAL" / "JPEGImages" / "2008_000001.jpg"
    before = PfPascal(PfPascal.Config(), root, tmp_path / "cache").load("test")
    assert before.table[0]["source_size"] == [300, 200]
    path = root / "image_pairs" / "test_pairs.csv"
    path.write_text(path.read_text().replace("30.5;120", "30.5;280"))
    store_turned(upright, tmp_path / "turned.jpg", 6)
    (tmp_path / "turned.jpg").replace(upright)
    found = PfPascal(PfPascal.Config(), root, tmp_path / "cache").load("test")
    assert found.table[0]["source_size"] == [300, 200, 6]
    assert found.table[0]["source_keypoints"] == [[30.5, 40.25], [280, 80]]
    with pytest.raises(PeftCorrError, match=r"2008_000001\.jpg, which is 200 x 300 as stored"):
        PfPascal(PfPascal.Config(exif="stored"), root, tmp_path / "cache").load("test")


def refusal(read: Callable[[Path], object], path: Path) -> str:
    """What is said of a file; nothing where it can be read."""
    try:
        read(path)
    except PeftCorrError as error:
        return str(error).replace(str(path.parent), "")
    return ""


@pytest.mark.filterwarnings("ignore::UserWarning")  # PIL's own, of what it skips
@pytest.mark.parametrize("kind", ["png", "jpg", "tiff", "webp"])
def test_a_damaged_header_is_one_sentence_or_none(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    store_turned(picture(tmp_path / "upright.png", (30, 20)), tmp_path / f"whole.{kind}", 6)
    whole = np.frombuffer((tmp_path / f"whole.{kind}").read_bytes(), np.uint8)
    path = tmp_path / f"it.{kind}"
    for _ in range(250):
        damaged = whole.copy()
        damaged[rng.integers(0, min(len(whole), 300), rng.integers(1, 6))] = rng.integers(0, 256)
        path.write_bytes(damaged[: rng.integers(1, len(whole) + 1) if rng.random() < 0.3 else None].tobytes())
        for said in (refusal(read_header, path), refusal(lambda file: decode(file, [20, 30, 6]), path)):
            assert "\n" not in said
            assert len(said) < 400


@pytest.mark.parametrize("exif", ["shown", "auto"])
def test_real_photographs_score_as_people_see_them(
    shared_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exif: str
) -> None:
    """Three dogs, each upright and stored turned, a grid of 25 points on each; sizes as stored. Frozen `tiny`."""
    images, objects = [], []
    (tmp_path / "dogs" / "images").mkdir(parents=True)
    found = sorted((shared_root / "data" / "animal-pairs" / "JPEGImages" / "dog").glob("*"))[:3]
    for number, path in enumerate(found):
        with Image.open(path) as opened:
            size = opened.size
            opened.save(tmp_path / "dogs" / "images" / f"{number}.jpg", quality=95)
            tag = Image.Exif()
            tag[0x0112] = 6
            turned = opened.transpose(STORING[6])
            turned.save(tmp_path / "dogs" / "images" / f"{number}-turned.jpg", exif=tag, quality=95)
        grid = [0.1, 0.3, 0.5, 0.7, 0.9]
        triples = [value for y in grid for x in grid for value in (x * size[0], y * size[1], 2)]
        for image, stored, name in ((2 * number, size, ""), (2 * number + 1, size[::-1], "-turned")):
            images.append(coco_image(image, stored, f"{number}{name}.jpg"))
            objects.append(
                {
                    "id": image, "image_id": image, "category_id": 1, "bbox": [0, 0, *size],
                    "area": size[0] * size[1], "iscrowd": 0, "num_keypoints": 25, "keypoints": triples,
                }
            )  # fmt: skip
    names = [f"k{number}" for number in range(25)]
    content = {
        "images": images,
        "annotations": objects,
        "categories": [coco_category(1, "dog", "pet", names)],
    }
    write_json(tmp_path / "dogs" / "annotations" / "test.json", content)
    monkeypatch.setenv("PEFTCORR_CACHE", str(tmp_path / "cache"))
    given = ["run", "--strategy", "frozen", "--dataset", "coco", "--data-root", str(tmp_path / "dogs")]
    more = ["--predictor", "argmax", "--output", str(tmp_path / "out"), "--set", f"dataset.exif={exif}"]
    assert main([*given, *more]) == 0
    [record] = Store(tmp_path / "out").records()
    scores = record.scores["dogs/test"]["argmax"].per_keypoint
    assert [round(scores[alpha], 2) for alpha in ("0.05", "0.1", "0.2")] == [19.20, 30.40, 53.07]

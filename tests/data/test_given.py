"""Images that a caller gives: one picture, however it comes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from peftcorr.data.decode import MAX_PIXELS
from peftcorr.data.given import GivenImages, picture, pictures
from peftcorr.data.images import ImageStore
from peftcorr.errors import PeftCorrError

ORIENTATION = 0x0112


@pytest.fixture
def path(tmp_path: Path, photograph: Callable[..., Image.Image]) -> Path:
    photograph(60, 40).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_path_pil_image_and_array_are_one_picture(path: Path) -> None:
    found = [picture(given) for given in (path, str(path), Image.open(path), np.asarray(Image.open(path)))]
    assert {one.key for one in found} == {found[0].key}
    assert found[0].size == (60, 40)
    np.testing.assert_array_equal(found[0].pixels, np.asarray(Image.open(path)))


def test_the_input_is_that_of_a_dataset(path: Path) -> None:
    given = picture(path)
    for mode in ("stretch", "pad"):
        store = GivenImages({given.key: given}, 32, mode)
        of_dataset = ImageStore(path.parent, 32, mode)
        np.testing.assert_array_equal(store.get([given.key]), of_dataset.get([path.name]))
        assert store.frame(given.key) == of_dataset.frame(path.name)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_a_turned_photograph_is_as_it_is_shown(
    tmp_path: Path, photograph: Callable[..., Image.Image], suffix: str, orientation: int
) -> None:
    from PIL import ImageOps

    path = tmp_path / f"turned.{suffix}"
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    photograph(60, 40).save(path, exif=exif)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    assert shown.shape[:2] == ((60, 40) if orientation in (6, 7) else (40, 60))
    np.testing.assert_array_equal(picture(path).pixels, shown)
    np.testing.assert_array_equal(picture(Image.open(path)).pixels, shown)


def test_grey_and_transparent_images_become_rgb() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for given in (grey, grey[..., None], Image.fromarray(grey)):
        np.testing.assert_array_equal(picture(given).pixels, np.repeat(grey[..., None], 3, 2))
    clear = Image.new("RGBA", (4, 3), (0, 0, 0, 0))
    assert (picture(clear).pixels == 255).all(), "transparency is laid on white"


def test_the_same_bytes_of_another_shape_are_another_picture() -> None:
    flat = np.arange(72, dtype=np.uint8)
    assert picture(flat.reshape(4, 6, 3)).key != picture(flat.reshape(6, 4, 3)).key


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((4, 4, 3)), "an array of float64: give uint8"),
        (np.zeros((3, 4, 4), np.uint8), r"of shape \(3, 4, 4\): give \(H, W, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), r"of shape \(0, 4, 3\)"),
        (np.zeros(4, np.uint8), r"of shape \(4,\)"),
        (None, "is None: give a path"),
        (Image.new("F", (4, 4)), "floating-point"),
        ("nowhere.png", "nowhere.png is missing"),
    ],
)
def test_what_is_no_image_is_refused(given: object, said: str) -> None:
    with pytest.raises(PeftCorrError, match=said):
        picture(given, "image_a")  # type: ignore[arg-type]


def test_a_list_names_the_place_of_what_is_wrong(path: Path) -> None:
    with pytest.raises(PeftCorrError, match=r"image_b\[1\] is 3: give a path"):
        pictures([path, 3], "image_b")  # type: ignore[list-item]


def test_an_image_whose_file_was_closed_is_one_sentence(path: Path) -> None:
    image = Image.open(path)
    image.close()
    with pytest.raises(PeftCorrError, match="given as image_a cannot be decoded"):
        picture(image, "image_a")


@pytest.mark.parametrize("shape", [(MAX_PIXELS + 1, 1), (1, MAX_PIXELS + 1)])
def test_an_array_of_too_many_pixels(shape: tuple[int, int]) -> None:
    with pytest.raises(PeftCorrError, match="limit"):
        picture(np.broadcast_to(np.uint8(0), shape))

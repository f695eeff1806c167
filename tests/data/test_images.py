from __future__ import annotations

import re
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from peftcorr.data import decode as decoding
from peftcorr.data import images
from peftcorr.data.images import Frame, ImageStore, decode, resize
from peftcorr.errors import PeftCorrError

Photograph = Callable[..., Image.Image]


def ramp(width: int = 64, height: int = 2) -> np.ndarray:
    return np.tile(np.linspace(0, 255, width).round().astype(np.uint8), (height, 1))


def test_grey_image_becomes_three_equal_channels(tmp_path: Path) -> None:
    Image.fromarray(ramp()).save(tmp_path / "grey.png")
    image = decode(tmp_path / "grey.png")
    assert image.shape == (2, 64, 3)
    assert image.dtype == np.uint8
    assert all((image[..., channel] == ramp()).all() for channel in range(3))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(ramp().astype(np.uint16) * 257).save(tmp_path / f"deep.{suffix}")
    assert (decode(tmp_path / f"deep.{suffix}")[..., 1] == ramp()).all()


def test_sixteen_bits_round_to_the_nearest(tmp_path: Path) -> None:
    values = np.array(
        [[0, 128, 129, 385, 386, 51272, 65535]], dtype=np.uint16
    )  # 257 apart; halves lie at 128.5, 385.5, 51271.5
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert decode(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 0, 1, 1, 2, 200, 255]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_values_without_a_known_white_are_refused(tmp_path: Path, mode: str) -> None:
    Image.fromarray(ramp().astype(np.float32) * 1e6).convert(mode).save(tmp_path / "raw.tif")
    with pytest.raises(PeftCorrError, match=r"raw\.tif"):
        decode(tmp_path / "raw.tif")


def test_cmyk_has_the_colours_of_its_rgb(photograph: Photograph, tmp_path: Path) -> None:
    photo = photograph(60, 40)
    photo.convert("CMYK").save(tmp_path / "print.jpg", quality=98)
    difference = np.abs(decode(tmp_path / "print.jpg").astype(int) - np.asarray(photo).astype(int))
    assert difference.mean() < 4


def test_palette_gives_its_colours(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([250, 10, 20, 5, 240, 30])
    image.putdata([0, 1])
    image.save(tmp_path / "palette.png")
    assert decode(tmp_path / "palette.png").tolist() == [[[250, 10, 20], [5, 240, 30]]]
    image.save(tmp_path / "clear.png", transparency=0)
    assert decode(tmp_path / "clear.png").tolist() == [[[255, 255, 255], [5, 240, 30]]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    colour = (0, 0, 0) if mode == "RGBA" else (0,)
    image = Image.new(mode, (3, 1))
    image.putdata([(*colour, 0), (*colour, 255), (*colour, 51)])
    image.save(tmp_path / "glass.png")
    assert decode(tmp_path / "glass.png")[0, :, 0].tolist() == [255, 0, 204]


def save_rotated(photo: Image.Image, path: Path, orientation: int) -> Image.Image:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo.save(path, exif=exif)
    return photo


def test_exif_rotation_follows_the_annotated_size(photograph: Photograph, tmp_path: Path) -> None:
    path = tmp_path / "phone.png"
    photo = np.asarray(save_rotated(photograph(60, 40), path, 6))  # 6: turn clockwise to see it upright
    assert (decode(path) == photo).all()
    assert (decode(path, (60, 40)) == photo).all()
    assert (decode(path, (40, 60)) == np.rot90(photo, -1)).all()


@pytest.mark.parametrize(("orientation", "size"), [(6, (41, 60)), (1, (40, 60)), (3, (40, 60))])
def test_size_that_no_orientation_explains_names_both_sizes(
    photograph: Photograph, tmp_path: Path, orientation: int, size: tuple[int, int]
) -> None:
    save_rotated(photograph(60, 40), tmp_path / "phone.png", orientation)
    with pytest.raises(PeftCorrError, match=rf"phone\.png is 60 x 40 .* {size[0]} x {size[1]}"):
        decode(tmp_path / "phone.png", size)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.4, 0.9])
@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_truncated_file_is_an_error_that_names_it(
    photograph: Photograph, tmp_path: Path, share: float, kind: str
) -> None:
    path = tmp_path / f"cut.{kind}"
    photograph(200, 150).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(PeftCorrError, match=rf"cut\.{kind} cannot be decoded"):
        decode(path)


def test_file_that_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    with pytest.raises(PeftCorrError, match=r"page\.jpg cannot be decoded"):
        decode(tmp_path / "page.jpg")
    with pytest.raises(PeftCorrError, match=r"none\.jpg is missing"):
        decode(tmp_path / "none.jpg")


def test_decompression_bomb_is_refused_before_its_pixels_are_decoded(tmp_path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT")
    with pytest.raises(PeftCorrError, match=r"bomb\.png is too large"):
        decode(tmp_path / "bomb.png")


def test_limit_is_ours_not_twice_ours(
    photograph: Photograph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photograph(60, 40).save(tmp_path / "photo.png")
    monkeypatch.setattr(decoding, "MAX_PIXELS", 60 * 40)
    decode(tmp_path / "photo.png")
    monkeypatch.setattr(decoding, "MAX_PIXELS", 60 * 40 - 1)
    with pytest.raises(PeftCorrError, match="too large"):
        decode(tmp_path / "photo.png")


def test_stretch_geometry_by_hand() -> None:
    frame = Frame(width=400, height=300, size=224)
    # x' = (x + 0.5) * 224/400 - 0.5 and y' = (y + 0.5) * 224/300 - 0.5
    mapped = frame.to_input([[0, 0], [399, 299], [199.5, 149.5], [12, 31.25]])
    hand = [[-0.22, -0.12666667], [223 + 0.22, 223 + 0.12666667], [111.5, 111.5], [6.5, 23.20666667]]
    np.testing.assert_allclose(mapped, hand, atol=1e-7)
    assert mapped.dtype == np.float64


def test_pad_geometry_by_hand() -> None:
    wide = Frame(width=400, height=300, size=200, mode="pad")
    assert wide.extent == (200, 150)
    np.testing.assert_allclose(wide.to_input([[399, 299], [1.5, 0.5]]), [[199.25, 149.25], [0.5, 0.0]])
    odd = Frame(width=301, height=100, size=100, mode="pad")
    assert odd.extent == (100, 33)  # 33.22 rounds, and the two axes then have their own scale
    np.testing.assert_allclose(odd.to_input([[150, 49.5]]), [[49.5, 16.0]])


@pytest.mark.parametrize("mode", ["stretch", "pad"])
@pytest.mark.parametrize("shape", [(400, 300), (37, 501), (224, 224), (1, 9)])
def test_points_survive_the_round_trip(mode: images.ResizeMode, shape: tuple[int, int]) -> None:
    frame = Frame(*shape, size=224, mode=mode)
    points = np.random.default_rng(0).uniform(-0.5, np.array(shape) - 0.5, (2, 50, 2))
    np.testing.assert_allclose(frame.to_original(frame.to_input(points)), points, atol=1e-10)


def test_predictions_in_the_padding_are_clipped_to_the_image() -> None:
    frame = Frame(width=400, height=300, size=200, mode="pad")
    clipped = frame.to_original([[100, 190], [199.5, 149.5], [-4, 3]])
    np.testing.assert_allclose(clipped, [[200.5, 299.5], [399.5, 299.5], [-0.5, 6.5]])
    stretched = Frame(width=400, height=300, size=200)
    assert stretched.to_original([[300, 300]]).tolist() == [[600.5, 450.25]]


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3,), (5, 1), (5, 3), (2, 5)])
def test_points_are_pairs_of_x_and_y(shape: tuple[int, ...]) -> None:
    frame = Frame(width=40, height=30, size=20)
    for move in (frame.to_input, frame.to_original):
        with pytest.raises(ValueError, match=re.escape(f"points must be (..., 2), not {shape}")):
            move(np.zeros(shape))
    assert frame.to_input(np.zeros((0, 2))).shape == (0, 2)


@pytest.mark.parametrize("mode", ["stretch", "pad"])
def test_resized_pixels_are_where_the_frame_says(mode: images.ResizeMode) -> None:
    image = np.zeros((300, 400, 3), dtype=np.uint8)
    image[120:141, 300:331] = 255  # its centre is at (315, 130)
    small = resize(image, 200, mode)
    assert small.shape == (200, 200, 3)
    ys, xs = np.indices((200, 200))
    weight = small[..., 0].astype(np.float64)
    centre = [(xs * weight).sum() / weight.sum(), (ys * weight).sum() / weight.sum()]
    np.testing.assert_allclose(centre, Frame(400, 300, 200, mode).to_input([315, 130]), atol=0.02)


def test_pad_fills_below_and_right_only() -> None:
    white = np.full((300, 400, 3), 255, dtype=np.uint8)
    small = resize(white, 200, "pad")
    assert (small[:150] == 255).all()
    assert (small[150:] == 0).all()
    tall = resize(white.transpose(1, 0, 2), 200, "pad")
    assert (tall[:, :150] == 255).all()
    assert (tall[:, 150:] == 0).all()


def test_downsizing_is_antialiased() -> None:
    stripes = np.zeros((64, 256, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(resize(stripes, 32).astype(int)[:, 2:-2] - 127).max() < 12


@pytest.fixture
def album(photograph: Photograph, tmp_path: Path) -> Path:
    for seed in range(5):
        photograph(60 + seed, 40, seed).save(tmp_path / f"{seed}.png")
    return tmp_path


def test_store_decodes_each_image_once(album: Path) -> None:
    store = ImageStore(album, 32)
    first = store.get(["0.png", "1.png", "0.png"])
    again = store.get(["1.png", "2.png", "0.png"])
    assert store.decodes == 3
    assert len(store) == 3
    assert first.shape == (3, 3, 32, 32)
    assert first.dtype == torch.uint8
    assert torch.equal(first[0], first[2])
    assert torch.equal(first[1], again[0])
    assert torch.equal(first[0], again[2])
    for index, name in enumerate(["1.png", "2.png", "0.png"]):
        direct = resize(decode(album / name), 32).transpose(2, 0, 1)
        assert (again[index].numpy() == direct).all()


def test_store_is_lazy_and_keeps_the_original_size(album: Path) -> None:
    (album / "3.png").write_bytes(b"broken")
    store = ImageStore(album, 32, "pad")
    assert store.frame("4.png", [64, 40]) == Frame(64, 40, 32, "pad")
    assert store.frame("4.png") == Frame(64, 40, 32, "pad")
    assert store.decodes == 1


def test_failed_image_leaves_the_others_right(album: Path) -> None:
    (album / "3.png").write_bytes(b"broken")
    store = ImageStore(album, 32)
    with pytest.raises(PeftCorrError, match=r"3\.png"):
        store.get(["2.png", "3.png", "4.png"])
    for name in ("4.png", "0.png", "2.png"):
        assert (store.get([name])[0].numpy() == resize(decode(album / name), 32).transpose(2, 0, 1)).all()
    with pytest.raises(PeftCorrError, match=r"3\.png"):
        store.get(["3.png"])


def test_two_annotated_sizes_of_one_image_are_an_error(album: Path) -> None:
    store = ImageStore(album, 32)
    store.get(["0.png"], [[60, 40]])
    store.get(["0.png"], [[]])
    with pytest.raises(PeftCorrError, match=r"0\.png is 60 x 40, .* 61 x 40"):
        store.get(["0.png"], [[61, 40]])


def test_full_disk_is_told(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(PeftCorrError, match=r"No space left on device.*TMPDIR"):
        ImageStore(album, 32).get(["0.png"])


def test_unwritable_temporary_folder_is_told(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(album / "nowhere"))
    with pytest.raises(PeftCorrError, match=r"Cannot keep decoded images in .*nowhere"):
        ImageStore(album, 32)


def test_store_starts_afresh_in_a_forked_process(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ImageStore(album, 32)
    store.get(["0.png"])
    before = store._rows
    monkeypatch.setattr(images.os, "getpid", lambda: -1)
    store.get(["1.png"])
    assert store._rows is not before
    assert (store.get(["0.png"])[0].numpy() == resize(decode(album / "0.png"), 32).transpose(2, 0, 1)).all()


def test_sizes_are_told_without_decoding(tmp_path: Path, photograph: Photograph) -> None:
    photograph(60, 40).save(tmp_path / "plain.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    photograph(30, 20).save(tmp_path / "turned.jpg", exif=turned)
    photograph(50, 10).save(tmp_path / "known.jpg")
    store = ImageStore(tmp_path, 16)
    store.add(["known.jpg"])
    names = ["plain.jpg", "turned.jpg", "turned.jpg", "known.jpg"]
    found = store.sizes(names, [[], [], [20, 30], []])
    assert found.dtype == np.int32
    assert found.tolist() == [[60, 40], [30, 20], [20, 30], [50, 10]]
    assert (store.decodes, len(store)) == (1, 1)
    for name, annotated, size in zip(names, [None, None, (20, 30), None], found.tolist(), strict=True):
        assert list(decode(tmp_path / name, annotated).shape[1::-1]) == size
    with pytest.raises(PeftCorrError, match=r"gone\.jpg is missing"):
        store.sizes(["gone.jpg"], [[]])

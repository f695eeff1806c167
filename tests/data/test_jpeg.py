"""A JPEG file that lacks only its end marker is whole; one that lacks a single byte of its picture is not."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from peftcorr.data.decode import decode, stored_size
from peftcorr.data.jpeg import without_end
from peftcorr.errors import PeftCorrError


def saved(progressive: bool, mode: str = "RGB", quality: int = 90, **more: object) -> bytes:
    coarse = np.random.default_rng(3).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((201, 147), Image.Resampling.BICUBIC).convert(mode)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality, progressive=progressive, **more)
    return stream.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("lost", [1, 2])
def test_a_file_without_its_end_marker_is_whole(
    tmp_path: Path, progressive: bool, mode: str, lost: int
) -> None:
    raw = saved(progressive, mode)
    (tmp_path / "whole.jpg").write_bytes(raw)
    (tmp_path / "cut.jpg").write_bytes(raw[:-lost])
    assert (decode(tmp_path / "cut.jpg") == decode(tmp_path / "whole.jpg")).all()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("quality", [40, 90])
def test_a_file_that_lacks_more_is_refused(tmp_path: Path, progressive: bool, quality: int) -> None:
    raw = saved(progressive, quality=quality)
    for lost in (3, 4, 5, 8, 13, 40, len(raw) // 3):
        (tmp_path / "cut.jpg").write_bytes(raw[:-lost])
        with pytest.raises(PeftCorrError, match=r"cut\.jpg cannot be decoded .*truncated"):
            decode(tmp_path / "cut.jpg")


def test_the_turn_of_a_phone_outlives_the_missing_end(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "phone.jpg").write_bytes(saved(False, exif=exif)[:-2])
    assert decode(tmp_path / "phone.jpg", (147, 201)).shape == (201, 147, 3)


def test_other_files_are_left_alone() -> None:
    assert without_end(b"") is None
    assert without_end(b"\x89PNG\r\n") is None
    assert without_end(saved(False)) is None
    assert without_end(b"\xff\xd8 no picture") is None


def header(width: int, height: int) -> bytes:
    """A PNG file of which only the header is there."""
    part = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + part
        + struct.pack(">I", zlib.crc32(part))
        + b"\0\0\0\0IDAT"
    )


def test_a_photograph_of_108_million_pixels_is_one(tmp_path: Path) -> None:
    (tmp_path / "phone.png").write_bytes(header(12_000, 9_000))
    with warnings.catch_warnings(record=True) as heard:
        assert stored_size(tmp_path / "phone.png") == (12_000, 9_000)
        with pytest.raises(PeftCorrError, match=r"phone\.png cannot be decoded"):
            decode(tmp_path / "phone.png")
    assert not heard, "nothing is wrong with its size"
    (tmp_path / "bomb.png").write_bytes(header(18_000, 10_000))
    with pytest.raises(PeftCorrError, match=r"bomb\.png is too large to be a photograph"):
        decode(tmp_path / "bomb.png")

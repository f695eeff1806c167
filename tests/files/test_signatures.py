"""What is no file of the expected kind is told by its first bytes, by every reader of what others made."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from peftcorr.data.decode import decode, stored_size
from peftcorr.data.layouts.coco_annotation import read_annotation
from peftcorr.data.layouts.csv_file import read_rows
from peftcorr.data.layouts.mat_file import read_numbers
from peftcorr.data.layouts.restricted_pickle import load_arrays
from peftcorr.errors import PeftCorrError
from peftcorr.files.signatures import what_it_is, what_lies_at

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n"
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"
HEIC = b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(200)
MATLAB = b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + b" " * 474 + b"\x89HDF\r\n\x1a\n" + bytes(100)


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (POINTER, "a pointer of Git LFS: run git lfs pull"),
        (b"/annex/objects/SHA256E-s1--a.jpg\n", "a pointer of git-annex: run git annex get"),
        (PAGE, "a web page: open it to read why"),
        (b"\xef\xbb\xbf<HTML>", "a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', "an XML document"),
        (b"<svg xmlns=''/>", r"a drawing \(SVG\): save it as PNG"),
        (HEIC, "an HEIC picture, as phones take them: save it as JPEG or PNG"),
        (b"\0\0\0\x1cftypavif", "an AVIF picture"),
        (b"\0\0\0\x1cftypisom", "a video: save its frames"),
        (MATLAB, r"saved as MATLAB 7\.3: save it in MATLAB with save\(file, '-v7'\)"),
        (b"PK\3\4abc", "a ZIP archive: unpack it"),
        (b"\x1f\x8b\x08", "a gzip archive"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\x89HDF\r\n", "an HDF5 file"),
    ],
)
def test_kinds(head: bytes, what: str) -> None:
    assert re.match(f"it is {what}", what_it_is(head) or "")


@pytest.mark.parametrize(
    "head", [b"", b"{}", b"image,x\n", b"\x89PNG\r\n", b"\xff\xd8\xff\xe0", b"\x80\x04\x95", b"a" * 1024]
)
def test_what_may_be_right_is_not_told(head: bytes) -> None:
    assert what_it_is(head) is None


def test_files(tmp_path: Path) -> None:
    assert what_lies_at(tmp_path / "none") is None
    assert what_lies_at(tmp_path) is None
    (tmp_path / "empty").touch()
    assert what_lies_at(tmp_path / "empty") == "it is empty: get it again"
    (tmp_path / "zeros").write_bytes(bytes(5000))
    assert what_lies_at(tmp_path / "zeros") == (
        "it begins with nothing but zeros, as a copy that broke off: get it again"
    )


READERS: dict[str, Callable[[Path], object]] = {
    "a.jpg": decode,
    "b.png": stored_size,
    "a.json": read_annotation,
    "a.csv": read_rows,
    "a.mat": lambda path: read_numbers(path, "kps"),
    "a.pkl": load_arrays,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    ("raw", "what"),
    [(POINTER, "it is a pointer of Git LFS"), (PAGE, "it is a web page"), (HEIC, "HEIC"), (MATLAB, "save.file, '-v7'")],
    ids=["pointer", "page", "HEIC", "MATLAB 7.3"],
)  # fmt: skip
def test_every_reader_says_what_it_is(tmp_path: Path, name: str, raw: bytes, what: str) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(PeftCorrError, match=what) as caught:
        READERS[name](tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)

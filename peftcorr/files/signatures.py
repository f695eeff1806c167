"""What a file is, by its first bytes: for messages about files that are something else than they should be."""

from __future__ import annotations

from pathlib import Path

from peftcorr.files.reading import opened

HEAD = 1024  # bytes that are looked at

_AGAIN = "get it again"
_HEIC = ("heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1")
_TEXTS = (  # in small letters, blanks before it taken away
    (b"version https://git-lfs", "a pointer of Git LFS", "run git lfs pull in its repository"),
    (b"/annex/objects/", "a pointer of git-annex", "run git annex get in its repository"),
    (b"<!doctype html", "a web page", "open it to read why, and download the file itself"),
    (b"<html", "a web page", "open it to read why, and download the file itself"),
    (b"<svg", "a drawing (SVG)", "save it as PNG"),
    (b"<?xml", "an XML document", _AGAIN),
)
_BYTES = (
    (b"\xff\x0a", "a JPEG XL picture", "save it as JPEG or PNG"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture", "save it as JPEG or PNG"),
    (b"FUJIFILMCCD-RAW", "a camera's raw picture", "save it as JPEG or PNG"),
    (b"%PDF", "a PDF document", _AGAIN),
    (b"PK\3\4", "a ZIP archive", "unpack it"),
    (b"\x1f\x8b", "a gzip archive", "unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it"),
    (b"Rar!", "a RAR archive", "unpack it"),
    (b"MATLAB 7.3 MAT-file", "saved as MATLAB 7.3", "save it in MATLAB with save(file, '-v7')"),
    (b"\x89HDF", "an HDF5 file", _AGAIN),
    (b"\x1a\x45\xdf\xa3", "a video", "save its frames as JPEG or PNG"),
)
_IN_BOXES = {  # by the brand of an ISO media file
    **dict.fromkeys(_HEIC, ("an HEIC picture, as phones take them", "save it as JPEG or PNG")),
    **dict.fromkeys(("avif", "avis"), ("an AVIF picture", "save it as JPEG or PNG")),
    "crx ": ("a camera's raw picture", "save it as JPEG or PNG"),
}


def what_it_is(head: bytes) -> str | None:
    """What the first bytes of a file show, and the mend, as a clause: ``it is a web page: ...``.

    None for nothing at all, for what is not known, and for a JPEG or PNG: readers of those know more about them.
    """
    if head and not any(head):
        return f"it begins with nothing but zeros, as a copy that broke off: {_AGAIN}"
    if head[4:8] == b"ftyp":
        brand = head[8:12].decode("latin1").lower()
        what, mend = _IN_BOXES.get(brand, ("a video", "save its frames as JPEG or PNG"))
        return f"it is {what}: {mend}"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for first, what, mend in (*_TEXTS, *_BYTES):
        if text.startswith(first) if (first, what, mend) in _TEXTS else head.startswith(first):
            return f"it is {what}: {mend}"
    return None


def what_lies_at(path: Path) -> str | None:
    """As `what_it_is`, of a file, and whether it is empty; None if it cannot be read either."""
    try:
        with opened(path) as stream:
            head = stream.read(HEAD)
    except OSError:
        return None
    return what_it_is(head) if head else f"it is empty: {_AGAIN}"

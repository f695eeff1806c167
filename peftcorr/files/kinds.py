"""What a file is by its first bytes, where a name promises something else."""

from __future__ import annotations

from pathlib import Path

from peftcorr.files.reading import opened

_BEGINNINGS = (
    (b"version https://git-lfs.github.com/spec/", "the pointer that Git LFS leaves, not the file itself"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML document"),
)


def mistaken(path: Path) -> str | None:
    """What a download left instead of the file that was meant, in a few words; None where that cannot be seen.

    Raises:
        OSError: if it cannot be read.
    """
    with opened(path) as stream:
        head = stream.read(256).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((kind for beginning, kind in _BEGINNINGS if head.startswith(beginning)), None)

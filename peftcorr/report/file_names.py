"""Names of the files that a report writes, from the names of others: no way out of their folder, and each once."""

from __future__ import annotations

import re
from collections.abc import Collection

from peftcorr.files import digest

_LONGEST = 120  # letters; a file's name has 255 bytes at most


def file_name(text: str, ending: str, taken: Collection[str] = ()) -> str:
    """A file's name in small letters, digits and dashes that tells what is in it.

    Args:
        text: what is in it.
        ending: ``.svg``, say.
        taken: names of other files.
    """
    stem = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if len(stem) > _LONGEST:
        stem = f"{stem[:_LONGEST]}-{digest(text)[:8]}"
    while f"{stem}{ending}" in taken:
        stem += "-2"
    return f"{stem}{ending}"

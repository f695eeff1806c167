"""Folders of weights whose JSON begins with the mark that some editors put before text, which no library reads."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peftcorr.files.reading import MARK, opened


@contextmanager
def readable(folder: Path) -> Iterator[Path]:
    """Yield the folder; where a JSON file in it begins with the mark, a temporary one of links, with copies without it.

    Raises:
        OSError: if a file cannot be read, or the copies cannot be written.
    """
    marked = [path for path in folder.glob("*.json") if path.is_file() and _is_marked(path)]
    if not marked:
        yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        for path in folder.iterdir():
            if path in marked:
                (temporary / path.name).write_bytes(path.read_bytes().removeprefix(MARK))
            else:
                (temporary / path.name).symlink_to(path.resolve())
        yield temporary


def _is_marked(path: Path) -> bool:
    with opened(path) as stream:
        return stream.read(len(MARK)) == MARK

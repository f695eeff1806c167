"""Files and folders written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from peftcorr.errors import PeftCorrError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it replaces `path` when the block ends without an error.

    Raises:
        PeftCorrError: if the disk is full or the folder cannot be written; what stood at `path` stays.
    """
    try:
        with replacing(path) as temporary:
            yield temporary
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk its own way
        reason = getattr(error, "strerror", None) or error
        raise PeftCorrError(
            f"Cannot write {path}: {reason}. Free some space or choose another --output, "
            "then run the same command again: finished work is kept."
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """As `atomic_path`, but an error is not put into words.

    Raises:
        OSError: if the disk is full or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(goal: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `goal`, which becomes `goal` when the block ends without an error.

    `goal` is not there or empty, and one process at a time makes it. After an error nothing is left; after a kill a
    hidden folder is, which the next call removes.

    Raises:
        OSError: if the disk is full or a folder cannot be written.
    """
    goal.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{goal.name}.making-"
    for left in goal.parent.iterdir():
        if left.name.startswith(prefix):
            shutil.rmtree(left, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(dir=goal.parent, prefix=prefix))
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.replace(goal)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)

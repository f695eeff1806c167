"""Files and folders written whole or not at all; known again by the digest of their bytes, or by a seal inside them.

A seal tells accidents and edits apart from what was written. It proves no author: whoever can write a file can seal it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from peftcorr.errors import PeftCorrError
from peftcorr.files.reading import opened, parse_json


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


SEAL = "seal"
MANIFEST = "manifest.json"


def sha256(*paths: Path) -> str:
    """Hash of a file's bytes (of several, one after the other), in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with opened(path) as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def digest(document: object) -> str:
    """Hash of a document of JSON, whatever the order of its keys."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def sealed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with its seal, the digest of all else in it."""
    bare = {key: value for key, value in document.items() if key != SEAL}
    return {**bare, SEAL: digest(bare)}


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document on one line, sealed.

    Raises:
        PeftCorrError: as `atomic_path`.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(sealed(document)) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote, without its seal.

    Raises:
        ValueError: if it is no such document, or was changed since.
        OSError: if it cannot be read.
    """
    with opened(path) as stream:
        document = parse_json(stream.read())
    if not isinstance(document, dict) or sealed(document) != document:
        raise ValueError("its seal does not fit: it was changed after it was written")
    return {key: value for key, value in document.items() if key != SEAL}


def manifest(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder, by its path there."""
    return {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST
    }


def seal_folder(folder: Path) -> None:
    """Leave the digests of its files in a finished folder.

    Raises:
        PeftCorrError: as `atomic_path`.
    """
    write_json(folder / MANIFEST, manifest(folder))


def unsealed(folder: Path) -> str | None:
    """Say what of a sealed folder is not as it was written, in a few words; None where all is."""
    try:
        written = read_json(folder / MANIFEST)
        found = manifest(folder)
    except (OSError, ValueError) as error:
        return f"{MANIFEST} cannot be read ({error})"
    differing = sorted(name for name in {*written, *found} if written.get(name) != found.get(name))
    return f"{differing[0]} is not as it was written" if differing else None

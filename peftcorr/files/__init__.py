"""Files and folders written whole or not at all; known again by the digest of their bytes, or by a seal inside them.

A seal tells accidents and edits apart from what was written. It proves no author: whoever can write a file can seal it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from peftcorr.errors import PeftCorrError
from peftcorr.files.reading import opened, parse_json
from peftcorr.machine.claim import Claim


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there replaces `path` when the block ends without an error.

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
    with _claimed(path) as temporary:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)


@contextmanager
def whole_folder(goal: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `goal`, which becomes `goal` when the block ends without an error.

    `goal` is not there or empty.

    Raises:
        OSError: if the disk is full or a folder cannot be written.
    """
    with _claimed(goal) as temporary:
        temporary.mkdir()
        yield temporary
        temporary.chmod(0o755)
        temporary.replace(goal)


@contextmanager
def passing_folder(goal: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `goal`, on the same disk, which is gone after the block.

    Raises:
        PeftCorrError: if it cannot be written.
    """
    try:
        with _claimed(goal) as temporary:
            temporary.mkdir()
            yield temporary
    except OSError as error:
        raise PeftCorrError(
            f"Cannot write below {goal.parent}: {error.strerror or error}. Free some space, then run the same command "
            "again: finished work is kept."
        ) from error


_MAKING = ".making-"
_CLAIM = ".lock"


def beside(goal: Path, what: str) -> Path:
    """A hidden name beside `goal` for what `remove_dead` may remove when nobody has a claim on it."""
    return goal.with_name(f".{goal.name}{_MAKING}{what}")


@contextmanager
def _claimed(goal: Path) -> Iterator[Path]:
    """Yield a hidden name beside `goal`, ours for as long as the block runs; nothing is left of it after that.

    After a kill something is: the next to write `goal` removes it, as `remove_dead` does.
    """
    goal.parent.mkdir(parents=True, exist_ok=True)
    prefix = beside(goal, "").name
    _remove_dead(path for path in goal.parent.iterdir() if path.name.startswith(prefix))
    handle, name = tempfile.mkstemp(dir=goal.parent, prefix=prefix, suffix=_CLAIM)
    os.close(handle)
    claim = Claim(Path(name))
    while not claim.take():  # whoever cleans up found it before it was locked
        time.sleep(0.001)
    temporary = Path(name.removesuffix(_CLAIM))
    try:
        yield temporary
    finally:
        _remove(temporary)
        claim.give_back()


def remove_dead(folder: Path, depth: int = 2) -> None:
    """Remove what killed processes left half written in a folder, and `depth` levels below; what lives is kept."""
    try:
        entries = list(os.scandir(folder))
    except OSError:  # not there, or not ours
        return
    _remove_dead(Path(entry) for entry in entries if entry.name.startswith(".") and _MAKING in entry.name)
    if depth:
        for entry in entries:
            if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                remove_dead(Path(entry), depth - 1)


def _remove_dead(found: Iterable[Path]) -> None:
    for path in {path.with_name(path.name.removesuffix(_CLAIM)) for path in found}:
        claim = Claim(path.with_name(path.name + _CLAIM))
        with suppress(OSError):
            if claim.take():
                if claim.told:
                    _remove(path)
                claim.give_back()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink(missing_ok=True)


SEAL = "seal"
MANIFEST = "manifest.json"


def sha256(*paths: str | Path) -> str:
    """Hash of a file's bytes (of several, one after the other), in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with opened(
            path, buffering=0
        ) as stream:  # of thousands of small files a buffer takes longer than the hash
            while chunk := stream.read(1 << 16):
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
    found = {}
    for directory, _, names in os.walk(folder):  # of thousands of files pathlib takes longer than their hash
        place = Path(directory).relative_to(folder).as_posix()
        for name in names:
            path = os.path.join(directory, name)
            if os.path.isfile(path):
                found[name if place == "." else f"{place}/{name}"] = sha256(path)
    found.pop(MANIFEST, None)
    return found


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

"""The Arrow cache: annotation is parsed once, then memory-mapped for as long as its files stay the same."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import datasets
import pyarrow as pa
from filelock import FileLock

from peftcorr.data.base import DatasetSource, Progress
from peftcorr.data.columns import PAIR_FEATURES
from peftcorr.errors import PeftCorrError, reason
from peftcorr.files import replacing, whole_folder

Row = Mapping[str, Any]  # of one pair: columns of PAIR_FEATURES; those that it lacks are null
T = TypeVar("T")

_FORMAT = "2"  # raise it when PAIR_FEATURES or the files below change meaning
_TABLE = "pairs.arrow"
_SEAL = "seal.json"
_CHUNK = 1 << 22
_BLOCK = 4096  # pairs between two writes


class _BrokenCache(Exception):
    """The cache is absent, cut short or altered, and has to be written again."""


def stamp(loader: str, layout: bytes, folders: Iterable[Path], suffix: str = "") -> str:
    """Hash what a split is read from, so that any change of it changes the result.

    Args:
        loader: name and version of the code that reads the annotation.
        layout: bytes that say which pairs there are.
        folders: folders whose files count by name, size and modification time in nanoseconds.
        suffix: only files whose name ends so are looked at.

    Raises:
        PeftCorrError: if a folder cannot be listed.
    """
    digest = hashlib.blake2b(f"{_FORMAT}\0{loader}\0{len(layout)}\0".encode() + layout, digest_size=16)
    for folder in folders:
        lines = []
        for entry in scan(folder):
            if entry.name.endswith(suffix):
                status = entry.stat()
                lines.append(f"{entry.name}\0{status.st_size}\0{status.st_mtime_ns}")
        digest.update(f"{folder.name}\0{len(lines)}\0".encode(errors="surrogateescape"))
        digest.update("\n".join(sorted(lines)).encode(errors="surrogateescape"))
    return digest.hexdigest()


def scan(folder: Path) -> list[os.DirEntry[str]]:
    """List a folder once.

    Raises:
        PeftCorrError: if it cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise PeftCorrError(f"Cannot list the folder {folder}: {error.strerror or error}.") from error


def cached_table(
    source: DatasetSource, root: Path, split: str, stamp: str, build: Callable[[], Iterable[Row]]
) -> datasets.Dataset:
    """Return a split's table, memory-mapped; call `build` only if no sound cache with `stamp` is there.

    Safe when several processes ask for the same split: one builds, the others wait for it and read.

    Args:
        source: has the name and the folder that all caches live in.
        root: the dataset's folder; two folders of one name do not share a cache.
        split: split name.
        stamp: result of `stamp` for the files as they are now.
        build: yields the pairs in order.

    Raises:
        PeftCorrError: whatever `build` raises, or if the cache folder cannot be written.
    """
    name = source.name
    identity = hashlib.blake2b(f"{name}\0{root.resolve()}\0{split}".encode(), digest_size=6).hexdigest()
    shelf = source.cache / "pairs" / f"{_file_name(name)}-{split}-{identity}"
    final = shelf / stamp
    with suppress(_BrokenCache):
        return _open(final)
    with _writing(shelf):
        shelf.mkdir(parents=True, exist_ok=True)
        with FileLock(shelf / ".lock"):
            with suppress(_BrokenCache):
                return _open(final)  # another process wrote it while this one waited
            with only_folder(shelf, stamp) as folder:
                _write(folder, build())
    try:
        return _open(final)
    except _BrokenCache as error:
        raise PeftCorrError(
            f"The cache {final} cannot be read back ({reason(error)}): is the disk sound?"
        ) from error


def told(things: Sequence[T], progress: Progress | None) -> Iterator[T]:
    """Yield the things one after the other, and tell after each how many are done."""
    for done, thing in enumerate(things, start=1):
        yield thing
        if progress is not None:
            progress(done, len(things))


def write_once(folder: Path, name: str, ending: str, content: bytes) -> Path:
    """Write a file of the cache whose `ending` stands for its content, unless it is there; returns its path.

    Raises:
        PeftCorrError: if the folder cannot be written.
    """
    path = folder / (_file_name(name) + ending)
    if not path.is_file() or path.stat().st_size != len(content):
        with _writing(folder), replacing(path) as temporary:
            temporary.write_bytes(content)
    return path


def _open(folder: Path) -> datasets.Dataset:
    """Memory-map a cache after comparing its length and checksum with its seal."""
    path = folder / _TABLE
    try:
        seal = json.loads((folder / _SEAL).read_bytes())
        if seal != _sealed(path, int(seal["pairs"])):
            raise _BrokenCache("length or checksum differs")
        table = datasets.Dataset.from_file(str(path))
    except (OSError, ValueError, KeyError, TypeError) as error:  # pyarrow's errors are among these
        raise _BrokenCache(str(error)) from error
    if len(table) != seal["pairs"] or table.features != PAIR_FEATURES:
        raise _BrokenCache("number of pairs or columns differ")
    return table


def _write(folder: Path, rows: Iterable[Row]) -> None:
    path = folder / _TABLE
    schema = PAIR_FEATURES.arrow_schema
    left = iter(rows)
    pairs = 0
    with path.open("wb") as stream, pa.ipc.new_stream(stream, schema) as writer:
        while block := list(islice(left, _BLOCK)):
            writer.write_table(pa.Table.from_pylist(block, schema=schema))
            pairs += len(block)
    (folder / _SEAL).write_text(json.dumps(_sealed(path, pairs)), encoding="utf-8")


@contextmanager
def only_folder(shelf: Path, name: str) -> Iterator[Path]:
    """Yield a temporary folder that becomes the only one of a shelf, `name`, when the block ends without an error."""
    with whole_folder(shelf / name) as temporary:
        yield temporary
        for old in shelf.iterdir():
            if old.is_dir() and old != temporary:
                shutil.rmtree(old, ignore_errors=True)


def _sealed(path: Path, pairs: int) -> dict[str, int]:
    checksum = size = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
            size += len(chunk)
    return {"pairs": pairs, "bytes": size, "crc32": checksum}


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        mend = "free some space" if error.errno == errno.ENOSPC else "choose another cache folder"
        raise PeftCorrError(
            f"Cannot write the cache {folder}: {error.strerror or error}. Please {mend} and run again."
        ) from error


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)[:60]

"""Unpacking archives that others made: only plain files and folders, only below one folder, only so many bytes.

Every member is checked and written here; neither ``tarfile`` nor ``zipfile`` writes anything.
"""

from __future__ import annotations

import gzip
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import RawIOBase
from pathlib import Path
from typing import IO, cast

from peftcorr.data.base import Progress
from peftcorr.data.published.download import unwritable
from peftcorr.errors import PeftCorrError

_CHUNK = 1 << 20
_DEEPEST = 64  # folders within folders
_HEADER = 1 << 20  # bytes that tarfile may read, and hold in memory, for one member's headers
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, struct.error, EOFError, ValueError,
    NotImplementedError,
)  # fmt: skip


class ArchiveRefused(PeftCorrError):
    """The archive is damaged or holds what must not be unpacked."""


@dataclass(frozen=True)
class Bound:
    """What an archive may hold at most: bytes when unpacked, and members."""

    bytes: int
    members: int


def unpack(archive: Path, folder: Path, bound: Bound, progress: Progress | None = None) -> None:
    """Unpack a ``.zip``, ``.tar`` or ``.tar.gz`` into a folder.

    Args:
        archive: file to read; its content says which of the three it is.
        folder: where to; it must be the caller's alone, so that nobody plants a link there.
        bound: what to stop at.
        progress: called with bytes of the archive (read, all).

    Raises:
        ArchiveRefused: if it is damaged, or a member lies outside the folder, is a link or a device, occurs twice or
            exceeds the bound; what was unpacked before it stays in `folder`.
        PeftCorrError: if the archive cannot be read or the disk is full.
    """
    try:
        with archive.open("rb") as stream:
            total = archive.stat().st_size
            zipped = stream.read(2) == b"PK"
            stream.seek(0)
            writer = _Writer(folder, bound)
            for member in _zip_members(stream) if zipped else _tar_members(stream):
                writer.write(member)
                if progress is not None:
                    progress(min(stream.tell(), total - 1), total)
            if progress is not None:
                progress(total, total)
    except _Refusal as refusal:
        raise ArchiveRefused(f"The archive {archive} is refused: {refusal}.") from refusal
    except _DAMAGE as error:
        raise ArchiveRefused(
            f"{archive} is no whole .zip, .tar or .tar.gz ({str(error) or type(error).__name__}): get it again."
        ) from error
    except OSError as error:
        raise PeftCorrError(f"Cannot read {archive}: {error.strerror or error}.") from error


class _Refusal(Exception):
    """Why an archive is refused, as the end of a sentence."""


@dataclass(frozen=True)
class _Member:
    """A file or folder of an archive: `open` is None for a folder; `size` is what the header says."""

    name: str
    size: int
    open: Callable[[], IO[bytes] | None] | None


class _Writer:
    """Checks members and writes them, counting what is written whatever the headers say."""

    def __init__(self, folder: Path, bound: Bound):
        self._folder, self._bound = folder, bound
        self._bytes = self._members = 0
        self._files: set[tuple[str, ...]] = set()

    def write(self, member: _Member) -> None:
        self._members += 1
        if self._members > self._bound.members:
            raise _Refusal(f"it has more than {self._bound.members} members")
        parts = _parts(member.name)
        path = self._folder.joinpath(*parts)
        folder = path if member.open is None else path.parent
        with _writing(folder, member):
            folder.mkdir(parents=True, exist_ok=True)
        if member.open is None:
            return
        if parts in self._files:
            raise _Refusal(f"its member {member.name!r} occurs twice")
        self._files.add(parts)
        self._room(member.size)
        source = member.open()
        if source is None:
            raise _Refusal(f"its member {member.name!r} is no file")
        with _writing(path, member):
            target = path.open("xb", buffering=0)  # a full disk then says so here, not on closing
        with source, target:
            self._copy(source, target, path, member)

    def _copy(self, source: IO[bytes], target: RawIOBase, path: Path, member: _Member) -> None:
        size = 0
        while piece := source.read(_CHUNK):
            size += len(piece)
            self._room(len(piece))
            self._bytes += len(piece)
            left = memoryview(piece)
            with _writing(path, member):
                while left:
                    left = left[target.write(left) or 0 :]
        if size != member.size:
            raise _Refusal(f"its member {member.name!r} has {size} bytes where its header says {member.size}")

    def _room(self, size: int) -> None:
        if size < 0 or self._bytes + size > self._bound.bytes:
            raise _Refusal(f"it unpacks to more than {self._bound.bytes} bytes")


def _parts(name: str) -> tuple[str, ...]:
    """Folders and name of a member, refused unless they lead below the folder on every system."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or re.match("[A-Za-z]:", name):
        raise _Refusal(f"its member {name!r} would lie outside the folder")
    if len(parts) > _DEEPEST:
        raise _Refusal(f"its member {name[:80]!r} lies more than {_DEEPEST} folders deep")
    return parts


@contextmanager
def _writing(path: Path, member: _Member) -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise _Refusal(f"its member {member.name!r} has the name of another") from error
    except OSError as error:
        raise unwritable(path, error) from error


def _zip_members(stream: IO[bytes]) -> Iterator[_Member]:
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            name = info.orig_filename  # `filename` is what zipfile made of it
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _Refusal(f"its member {name!r} is a link or a device")
            if info.flag_bits & 1:
                raise _Refusal(f"its member {name!r} is encrypted")
            # zipfile unpacks a piece of any other kind at once, however much memory that takes.
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _Refusal(f"its member {name!r} is compressed by another method than deflate")
            yield _Member(name, info.file_size, None if info.is_dir() else partial(archive.open, info))


def _tar_members(stream: IO[bytes]) -> Iterator[_Member]:
    gzipped = stream.read(2) == b"\x1f\x8b"
    stream.seek(0)
    reader = _TarReader(gzip.GzipFile(fileobj=stream, mode="rb") if gzipped else stream)
    with tarfile.TarFile(fileobj=cast("IO[bytes]", reader)) as archive:
        for info in archive:
            if not info.isdir() and (not info.isreg() or info.issparse()):
                raise _Refusal(f"its member {info.name!r} is a link or a device")
            reader.allowance = info.size + _CHUNK
            yield _Member(info.name, info.size, None if info.isdir() else partial(archive.extractfile, info))
            reader.allowance = _HEADER
    if reader.last != bytes(tarfile.BLOCKSIZE):  # tarfile takes rubbish and the file's end for it too
        raise tarfile.ReadError("its end mark is missing")
    reader.allowance = _HEADER
    while reader.read(_CHUNK // 2):  # a checksum stands at the end of a .gz
        pass


class _TarReader:
    """What tarfile reads from: it refuses to give more than the allowance between two settings of it."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile):
        self._stream = stream
        self.allowance = _HEADER
        self.last = b""

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.allowance:
            raise _Refusal(f"it has more than {_HEADER} bytes in one place that belong to no file")
        self.last = self._stream.read(size)
        self.allowance -= len(self.last)
        return self.last

    def seek(self, position: int) -> int:
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()

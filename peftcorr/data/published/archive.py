"""Unpacking archives that others made: only plain files and folders, only below one folder, only so many bytes.

Every member is checked and written here; ``tarfile``'s own filter lets links and repeated names through, and
``zipfile`` has none.
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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from peftcorr.data.base import Progress
from peftcorr.data.published.catalogue import Bound
from peftcorr.data.published.download import unwritable
from peftcorr.errors import PeftCorrError, reason, shown
from peftcorr.files.reading import opened

_CHUNK = 1 << 20
_DEEPEST = 64  # folders within folders
_HEADER = 1 << 20  # bytes that tarfile may read, and hold in memory, for one member's headers
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, struct.error, EOFError, ValueError,
    NotImplementedError, RecursionError,
)  # fmt: skip


class ArchiveRefused(PeftCorrError):
    """The archive is damaged or holds what must not be unpacked."""


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
        with opened(archive) as stream:
            total = archive.stat().st_size
            zipped = stream.read(2) == b"PK"
            stream.seek(0)
            room = bound.bytes
            for number, member in enumerate((_zip_members if zipped else _tar_members)(stream)):
                if number == bound.members:
                    raise _Refusal(f"it has more than {bound.members} members")
                if not 0 <= member.size <= room:
                    raise _Refusal(f"it unpacks to more than {bound.bytes} bytes")
                room -= member.size
                _write(member, folder)
                if progress is not None:
                    progress(min(stream.tell(), total - 1), total)
            if progress is not None:
                progress(total, total)
    except _Refusal as refusal:
        raise ArchiveRefused(f"The archive {archive} is refused: {refusal}.") from refusal
    except _DAMAGE as error:
        raise ArchiveRefused(
            f"{archive} is no whole .zip, .tar or .tar.gz ({reason(error)}): get it again."
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
    open: Callable[[], Any] | None


def _write(member: _Member, folder: Path) -> None:
    """Write a member below `folder`: at most as many bytes as its header says, never over another one."""
    path = folder.joinpath(*_parts(member.name))
    written = 0
    try:
        (path if member.open is None else path.parent).mkdir(parents=True, exist_ok=True)
        if member.open is None:
            return
        with path.open("xb") as target, member.open() as source:
            while (piece := source.read(_CHUNK)) and (written := written + len(piece)) <= member.size:
                target.write(piece)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise _Refusal(f"its member {shown(member.name)} has the name of another") from error
    except gzip.BadGzipFile:  # an OSError too, but none of this disk
        raise
    except OSError as error:
        raise unwritable(path, error) from error
    if written != member.size:
        raise _Refusal(
            f"its member {shown(member.name)} has not the {member.size} bytes that its header says"
        )


def _parts(name: str) -> tuple[str, ...]:
    """Folders and name of a member, refused unless they lead below the folder on every system."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or re.match("[A-Za-z]:", name):
        raise _Refusal(f"its member {shown(name)} would lie outside the folder")
    if len(parts) > _DEEPEST:
        raise _Refusal(f"its member {shown(name)} lies more than {_DEEPEST} folders deep")
    return parts


def _zip_members(stream: IO[bytes]) -> Iterator[_Member]:
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            name = info.orig_filename  # `filename` is what zipfile made of it
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _Refusal(f"its member {shown(name)} is a link or a device")
            if info.flag_bits & 1:
                raise _Refusal(f"its member {shown(name)} is encrypted")
            # zipfile unpacks a piece of any other kind at once, however much memory that takes.
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _Refusal(f"its member {shown(name)} is compressed by another method than deflate")
            yield _Member(name, info.file_size, None if info.is_dir() else partial(archive.open, info))


def _tar_members(stream: IO[bytes]) -> Iterator[_Member]:
    gzipped = stream.read(2) == b"\x1f\x8b"
    stream.seek(0)
    reader = _TarReader(gzip.GzipFile(fileobj=stream, mode="rb") if gzipped else stream)
    with tarfile.TarFile(fileobj=cast("IO[bytes]", reader)) as archive:
        for info in archive:
            if not info.isdir() and (not info.isreg() or info.issparse()):
                raise _Refusal(f"its member {shown(info.name)} is a link or a device")
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
        self.seek, self.tell = stream.seek, stream.tell
        self.allowance = _HEADER
        self.last = b""

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.allowance:
            raise _Refusal(f"it has more than {_HEADER} bytes in one place that belong to no file")
        self.last = self._stream.read(size)
        self.allowance -= len(self.last)
        return self.last

"""Downloading one file: gone on with after a break, and never taken for whole when it is not."""

from __future__ import annotations

import errno
import hashlib
import re
from contextlib import suppress
from pathlib import Path

import requests
import urllib3

from peftcorr.data.base import Progress
from peftcorr.errors import PeftCorrError
from peftcorr.files.reading import opened

_CHUNK = 1 << 20
_TIMEOUT = (20, 60)  # seconds to connect, and between two pieces


def download(
    address: str, goal: Path, *, largest: int, sha256: str | None = None, progress: Progress | None = None
) -> str:
    """Download a file, unless it is there, and compare its checksum.

    It grows as ``<goal>.part`` and gets its name when it is whole and right. A break keeps the part, and the next call
    asks for the rest of it alone; the server gives that only while the file there is the same (If-Range, RFC 9110).

    Args:
        address: what to download.
        goal: file to write.
        largest: bytes that the file may have at most.
        sha256: what it must hash to, if known.
        progress: called with bytes (done, total) where the server says how many there are.

    Returns:
        The file's sha256 in hexadecimal digits.

    Raises:
        PeftCorrError: if the server cannot be reached or refuses, the file is larger or has another checksum, or the
            disk is full.
    """
    if goal.is_file():
        found = hash_file(goal)
        if sha256 not in (None, found):
            raise PeftCorrError(
                f"{goal} is there already, but its sha256 is {found} and must be {sha256}: delete it to download it "
                "anew."
            )
        return found
    part = goal.with_name(f"{goal.name}.part")
    try:
        goal.parent.mkdir(parents=True, exist_ok=True)
        _fetch(address, part, largest, progress)
        found = hash_file(part)
        if sha256 not in (None, found):
            _drop(part)
            raise PeftCorrError(
                f"The download of {address} has the sha256 {found} where it must have {sha256}: nothing was kept."
            )
        part.replace(goal)
        _drop(part)
        return found
    except requests.exceptions.RequestException as error:
        raise PeftCorrError(
            f"Cannot download {address} ({_reason(error)}): check the network, or fetch it elsewhere and give it "
            "with --archive FILE."
        ) from error
    except (urllib3.exceptions.HTTPError, ConnectionError) as error:
        raise PeftCorrError(
            f"The download of {address} broke off ({_reason(error)}): the same command goes on from there."
        ) from error
    except OSError as error:
        raise unwritable(goal, error) from error


def hash_file(path: Path) -> str:
    """The sha256 of a file, in hexadecimal digits.

    Raises:
        PeftCorrError: if it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with opened(path) as stream:
            while piece := stream.read(_CHUNK):
                digest.update(piece)
    except OSError as error:
        raise PeftCorrError(f"Cannot read {path}: {error.strerror or error}.") from error
    return digest.hexdigest()


def unwritable(path: Path, error: OSError) -> PeftCorrError:
    """The one sentence for a file that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return PeftCorrError(
            f"The disk of {path.parent} is full: free some space or choose another place with --data-root, then run "
            "the same command again."
        )
    return PeftCorrError(f"Cannot write {error.filename or path}: {error.strerror or error}.")


def _version(part: Path) -> Path:
    """What the server called the version of the file that the part is of."""
    return part.with_name(f"{part.name}.version")


def _drop(part: Path) -> None:
    for path in (part, _version(part)):
        path.unlink(missing_ok=True)


def _fetch(address: str, part: Path, largest: int, progress: Progress | None) -> None:
    """Bring the part up to the whole file."""
    done = part.stat().st_size if part.is_file() else 0
    headers = {"Accept-Encoding": "identity"}  # some servers else unpack a .tar.gz on the way
    if done:
        headers["Range"] = f"bytes={done}-"
        with suppress(OSError):
            headers["If-Range"] = _version(part).read_text(encoding="latin-1")
    with requests.get(address, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        begin, total = _extent(response)
        if response.status_code == requests.codes.requested_range_not_satisfiable and done:
            if done != total:  # else killed between the last byte and the file's name
                _drop(part)
                _fetch(address, part, largest, progress)
            return
        if response.status_code not in (requests.codes.ok, requests.codes.partial_content):
            raise PeftCorrError(
                f"{address} answers {response.status_code} {response.reason or ''}".rstrip()
                + ": look for the file at its publisher's page and give it with --archive FILE."
            )
        if begin not in (0, done):
            raise PeftCorrError(
                f"{address} sends bytes from {begin} where {done} was asked for: delete {part} to start anew."
            )
        _keep_version(response, _version(part))
        done = begin  # 0 where the server knows no ranges
        with part.open("ab" if begin else "wb") as stream:
            for piece in response.raw.stream(_CHUNK, decode_content=False):
                done += len(piece)
                if done > largest:
                    _drop(part)
                    raise PeftCorrError(
                        f"{address} sends more than the {largest} bytes that the file can have at most: nothing was "
                        "kept."
                    )
                stream.write(piece)
                if progress is not None and total:
                    progress(done, total)
    if total is not None and done != total:
        raise PeftCorrError(
            f"The download of {address} broke off after {done} of {total} bytes: the same command goes on from there."
        )


def _keep_version(response: requests.Response, path: Path) -> None:
    version = response.headers.get("ETag", "")
    # A weak tag names files that may differ in bytes, which If-Range therefore must not carry (RFC 9110, 13.1.5).
    if not version or version.startswith("W/"):
        version = response.headers.get("Last-Modified", "")
    path.unlink(missing_ok=True)
    if version:
        path.write_text(version, encoding="latin-1")


def _extent(response: requests.Response) -> tuple[int, int | None]:
    """Where in the file an answer begins, and how many bytes the whole file has, if it says so."""
    ranged = re.fullmatch(
        r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", "").strip()
    )
    if ranged is not None:
        begin, total = ranged.groups()
        return int(begin or 0), None if total == "*" else int(total)
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _reason(error: Exception) -> str:
    """The innermost reason that a library wraps, short enough for a sentence."""
    reason: BaseException = error
    while isinstance(inner := getattr(reason, "reason", None) or reason.__context__, BaseException):
        reason = inner
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__

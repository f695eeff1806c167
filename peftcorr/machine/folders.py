"""Whether a folder can be written to, and has room: looked at before work begins that would be lost."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from peftcorr.errors import PeftCorrError

_PROBE = 1 << 16  # bytes: more than a full disk has


@dataclass(frozen=True)
class Place:
    """A folder that a run writes to.

    Attributes:
        what: what people call it.
        path: it may be missing, and is not made.
        elsewhere: how another is chosen.
    """

    what: str
    path: Path
    elsewhere: str

    def require_writable(self) -> None:
        """Write a little and delete it again.

        Raises:
            PeftCorrError: if that cannot be done.
        """
        try:
            with tempfile.TemporaryFile(prefix=".peftcorr-probe-", dir=self._standing()) as probe:
                probe.write(bytes(_PROBE))
                probe.flush()
                os.fsync(probe.fileno())
        except OSError as error:
            raise PeftCorrError(
                f"Cannot write to the {self.what} {self.path}: {error.strerror or error}. Make it writable, free some "
                f"space, or {self.elsewhere}."
            ) from error

    def holds_something(self) -> bool:
        """Whether it is there and not empty."""
        try:
            return any(self.path.iterdir())
        except OSError:
            return False

    def free(self) -> int:
        """Bytes that are free on its disk."""
        return shutil.disk_usage(self._standing()).free

    def disk(self) -> int:
        """Which disk it is on."""
        return self._standing().stat().st_dev

    def _standing(self) -> Path:
        """The folder itself, or where it would be made."""
        path = self.path.absolute()
        return next(folder for folder in (path, *path.parents) if os.path.lexists(folder))


def cache_folder() -> Path:
    """Where annotation tables and renderings are kept: $PEFTCORR_CACHE, or the user's cache folder.

    Raises:
        PeftCorrError: if neither is set and the user has no home folder.
    """
    own = os.environ.get("PEFTCORR_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(own) if own else (Path(base) if base else Path.home() / ".cache") / "peftcorr"
    except RuntimeError as error:
        raise PeftCorrError(
            "There is no home folder to keep a cache in: set PEFTCORR_CACHE to a folder that can be written."
        ) from error


def places_of(output: Path) -> tuple[Place, Place, Place]:
    """Where a run writes: output, cache and temporary files.

    Raises:
        PeftCorrError: if there is no place for a cache.
    """
    return (
        Place("output folder", output, "choose another --output"),
        Place("cache folder", cache_folder(), "set PEFTCORR_CACHE to another"),
        temporary_place(),
    )


def temporary_place() -> Place:
    """Where temporary files go."""
    given = os.environ.get("TMPDIR")
    try:
        path = Path(given or tempfile.gettempdir())
    except FileNotFoundError:  # none of the usual ones can be written to
        path = Path("/tmp")
    return Place("temporary folder", path, "set TMPDIR to another")


def require_room(needs: Iterable[tuple[Place, int]]) -> None:
    """Refuse work that needs more bytes than are free, those of one disk taken together.

    Raises:
        PeftCorrError: naming the place that needs most of the disk that is too small.
    """
    by_disk: dict[int, list[tuple[int, Place]]] = {}
    for place, size in needs:
        by_disk.setdefault(place.disk(), []).append((size, place))
    for found in by_disk.values():
        size = sum(each for each, _ in found)
        _, place = max(found, key=lambda one: one[0])
        if size > (free := place.free()):
            raise PeftCorrError(
                f"The {place.what} {place.path} has {_megabytes(free)} free, but about {_megabytes(size)} will be "
                f"written: free some space, or {place.elsewhere}."
            )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.2f} MB"

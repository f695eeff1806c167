"""From published archives to a dataset's folder: downloaded or given, verified, unpacked, all or nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from filelock import FileLock

from peftcorr.console.progress import Progress
from peftcorr.data.base import Progress as Report
from peftcorr.data.published.archive import ArchiveRefused, unpack
from peftcorr.data.published.catalogue import Archive, Published
from peftcorr.data.published.download import download, hash_file, unwritable
from peftcorr.errors import PeftCorrError
from peftcorr.files import whole_folder


def prepare(
    dataset: Published, folder: Path, given: Sequence[Path], pinned: Sequence[str], progress: Progress
) -> bool:
    """Make a dataset's folder from its archives, unless it is there.

    Downloads lie beside the folder while it is made; their checksums stay there as ``<file>.sha256``.

    Args:
        dataset: what to prepare.
        folder: the dataset's folder, new or empty.
        given: its files that are here already, in the catalogue's order; those after them are downloaded.
        pinned: sha256 of its files in that order; of those after them the first download is trusted.
        progress: where progress and checksums are shown.

    Returns:
        Whether anything had to be done.

    Raises:
        PeftCorrError: if an archive cannot be had, has another checksum, is refused or lacks a part of the dataset, or
            the folder cannot be written. The folder then is as it was.
    """
    for what, values in (("--archive", given), ("--sha256", pinned)):
        if len(values) > len(dataset.archives):
            files = ", then ".join(archive.file for archive in dataset.archives)
            raise PeftCorrError(
                f"{what} has {len(values)} values, but {dataset.name} is published as {files}."
            )
    for value in pinned:
        if not re.fullmatch("[0-9a-fA-F]{64}", value):
            raise PeftCorrError(f"--sha256 {value} is no SHA-256: it has 64 hexadecimal digits.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{folder.name}.lock"):
            if not dataset.lacking(folder):
                return False
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise PeftCorrError(
                    f"{folder} is no empty folder and has no {dataset.lacking(folder)[0]}: give another --data-root, "
                    "or delete it."
                )
            _make(dataset, folder, given, [value.lower() for value in pinned], progress)
    except OSError as error:
        raise unwritable(folder, error) from error
    return True


def _make(
    dataset: Published, folder: Path, given: Sequence[Path], pinned: Sequence[str], progress: Progress
) -> None:
    files: dict[Path, Archive] = {}
    found: dict[Path, str] = {}  # sha256 of what was downloaded
    for archive, own, pin in zip_longest(dataset.archives, given, pinned):
        path = own or folder.parent / archive.file
        files[path] = archive
        if own is None:
            found[path] = _downloaded(dataset, archive, path, pin, progress)
            continue
        sha256 = hash_file(path)
        if pin not in (None, sha256):
            raise PeftCorrError(
                f"The sha256 of {path} is {sha256} where it must be {pin}: it is another file, or damaged."
            )
        progress.say(f"sha256 {sha256}  {path.name}")
    try:
        _unpack(dataset, folder, files, progress)
    except ArchiveRefused:
        for path in found:
            path.unlink()  # or the next call would take them again
        raise
    for path, sha256 in found.items():
        _trusted(path).write_text(f"{sha256}  {path.name}\n", encoding="utf-8")
        path.unlink()


def _unpack(dataset: Published, folder: Path, files: Mapping[Path, Archive], progress: Progress) -> None:
    with whole_folder(folder) as temporary:
        for path, archive in files.items():
            placed = temporary / (archive.placed or "")
            if archive.folder is None:
                placed.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, placed)
                continue
            with progress.reporting(f"unpack {path.name}", "MB") as report:
                unpack(path, temporary, dataset.bound, _megabytes(report))
            if archive.placed is not None and (temporary / archive.folder).is_dir():
                (temporary / archive.folder).rename(placed)
        if lacking := dataset.lacking(temporary):
            names = " and ".join(str(path) for path in files)
            raise ArchiveRefused(
                f"{names} has no {lacking[0]}, as {dataset.name} is published with: get it again."
            )


def _downloaded(dataset: Published, archive: Archive, path: Path, pin: str | None, progress: Progress) -> str:
    """Download an archive; without a known checksum the one of the first download counts. Returns its sha256."""
    if archive.address is None:
        raise PeftCorrError(
            f"{dataset.name} has no address for programs: fetch {archive.file} by hand from {dataset.page} and give it "
            "with --archive FILE."
        )
    expected = pin or _first_sum(_trusted(path))
    progress.say(f"Downloading {archive.address}")
    with progress.reporting(f"download {archive.file}", "MB") as report:
        found = download(
            archive.address, path, largest=dataset.bound.bytes, sha256=pin, progress=_megabytes(report)
        )
    if expected not in (None, found):
        path.unlink()
        raise PeftCorrError(
            f"{archive.address} gave a file with the sha256 {found}, but the first download had {expected}: delete "
            f"{_trusted(path)} if you trust the new one, or give --sha256."
        )
    note = "" if expected else " (none is published: trusted as the first download)"
    progress.say(f"sha256 {found}  {archive.file}{note}")
    return found


def _trusted(path: Path) -> Path:
    """Where the checksum of a file's first download is written."""
    return path.with_name(f"{path.name}.sha256")


def _first_sum(path: Path) -> str | None:
    try:
        found = re.match("[0-9a-f]{64}", path.read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return found[0] if found else None


def _megabytes(report: Report) -> Report:
    """The same report for bytes, shown in MB."""

    def in_bytes(done: int, total: int) -> None:
        whole = max(1, round(total / 1e6))
        report(whole if done >= total else min(whole - 1, round(done / 1e6)), whole)

    return in_bytes

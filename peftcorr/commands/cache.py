"""``peftcorr cache ls | clear``: what the cache folder holds, and making room in it."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from peftcorr.commands.options import cache_folder
from peftcorr.console.numbers import memory
from peftcorr.console.table import print_table, print_whole
from peftcorr.errors import PeftCorrError, reason, shortened, shown
from peftcorr.files.reading import parse_json, read_bytes

SUMMARY = "List or delete what the cache folder holds."

KINDS = {
    "features": "features of frozen backbones",
    "prefixes": "output of frozen blocks",
    "pairs": "annotation tables",
    "synthetic": "rendered pictures",
    "tapvid": "frames of videos",
    "digests": "hashes of images",
}


@dataclass(frozen=True)
class Entry:
    """One folder or file of the cache that can be deleted without harm to the others, and what it holds."""

    kind: str
    folder: Path
    what: str
    bytes: int


def entries(cache: Path) -> list[Entry]:
    """Everything in a cache folder, by kind and name."""
    return [
        Entry(kind, folder, _what(kind, folder), sum(_sizes(folder)))
        for kind in KINDS
        for folder in sorted((cache / kind).glob("*"))
        if not folder.name.startswith(".")
    ]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument("action", choices=("ls", "clear"), help="list what is there, or delete it")
    parser.add_argument(
        "kind", nargs="*", metavar="KIND", help=f"these alone: {', '.join(KINDS)} (default: all)"
    )


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand.

    Raises:
        PeftCorrError: if a kind is unknown or something cannot be deleted.
    """
    cache = cache_folder()
    unknown = [kind for kind in parsed.kind if kind not in KINDS]
    if unknown:
        raise PeftCorrError(f"The cache has no kind {shown(unknown[0])}: its kinds are {', '.join(KINDS)}.")
    kinds = parsed.kind or list(KINDS)
    found = [entry for entry in entries(cache) if entry.kind in kinds]
    size = memory(sum(entry.bytes for entry in found))
    if parsed.action == "clear":
        # A run that has features of it mapped into memory goes on with them: their files vanish when it ends.
        try:
            for kind in kinds:
                if (cache / kind).is_dir():
                    shutil.rmtree(cache / kind)
        except OSError as error:
            raise PeftCorrError(
                f"Cannot delete {error.filename or cache}: {error.strerror or reason(error)}."
            ) from error
        print_whole(Console(), f"Deleted {len(found)} entries of {', '.join(kinds)}, {size}, below {cache}.")
        return 0
    rows = [[entry.kind, entry.folder.name, entry.what, memory(entry.bytes)] for entry in found]
    total = ["all", f"{len(found)}", "", size]
    header = ["kind", "entry", "what it holds", "size"]
    print_table(Console(), header, [*rows, None, total], text=(0, 1, 2), title=f"{cache}")
    return 0


def _what(kind: str, folder: Path) -> str:
    if kind not in ("features", "prefixes"):
        return KINDS[kind]
    try:
        about = parse_json(read_bytes(folder / "about.json"))
        what = f"{about['backbone']}, {about['weights']}, {about['image_size']} px {about['resize']}"
        return shortened(what, 200)
    except (PeftCorrError, ValueError, KeyError, TypeError):
        return f"{KINDS[kind]}, of which nothing is written down"


def _sizes(folder: Path) -> Iterator[int]:
    for path in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):  # another process tidied up
            if path.is_file():
                yield path.stat().st_size

"""``peftcorr status``: which cells are done, running, failed or waiting."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from peftcorr.commands.options import OUTPUT
from peftcorr.console.table import print_line, print_table

SUMMARY = "Show which cells of a sweep are done, running (and how far), failed (and why) or waiting."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument(
        "folder", type=Path, nargs="?", default=OUTPUT, metavar="DIR", help=f"default: {OUTPUT}"
    )
    parser.add_argument("--all", action="store_true", help="list the cells that are done too")


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand.

    Returns:
        0; 1 if a cell failed.

    Raises:
        PeftCorrError: if there is no such folder.
    """
    from peftcorr.sweep.status import HEADER, STATES, counted, status

    found = sorted(status(parsed.folder), key=lambda one: STATES.index(one.state))
    shown = [one.row() for one in found if parsed.all or one.state != "done"]
    console = Console()
    if shown:
        print_table(console, HEADER, shown, text=range(len(HEADER)), whole=(0, 2))
    print_line(console, f"{counted(found)} in {parsed.folder}.")
    return int(any(one.state == "failed" for one in found))

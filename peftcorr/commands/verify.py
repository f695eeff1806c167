"""``peftcorr verify``: is every file of an output folder as its run wrote it?"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from rich.console import Console

from peftcorr.commands.options import OUTPUT
from peftcorr.console.table import print_line, print_table

SUMMARY = "Check every file of an output folder against what its run wrote."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument(
        "folder", type=Path, nargs="?", default=OUTPUT, metavar="DIR", help=f"default: {OUTPUT}"
    )


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand.

    Returns:
        0 where every file is whole; 1 where one is changed, missing or foreign, or nothing sealed says how it was.

    Raises:
        PeftCorrError: if there is no such folder.
    """
    from peftcorr.results.verify import WHOLE, verify

    found = verify(parsed.folder)
    console = Console()
    wrong = [one for one in found if one.state != WHOLE]
    rows = [(one.name, one.state, one.why) for one in wrong or found]
    print_table(console, ("file", "state", "why"), rows, text=(0, 1, 2))
    counts = Counter(one.state for one in found)
    told = ", ".join(f"{count:,} {state}" for state, count in counts.items()) or "nothing to check"
    print_line(console, f"{told} in {parsed.folder}.")
    return 1 if wrong else 0

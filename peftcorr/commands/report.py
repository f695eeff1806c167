"""``peftcorr report``: the leaderboard as pages that open from disk."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console

from peftcorr.commands.options import OUTPUT, expanded
from peftcorr.console import numbers
from peftcorr.console.table import print_line, print_whole
from peftcorr.errors import PeftCorrError, did_you_mean, shown
from peftcorr.machine.startup import importing

SUMMARY = "Write the leaderboard as pages to sort, filter and search, which open from disk."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument(
        "runs",
        type=Path,
        nargs="?",
        default=OUTPUT,
        metavar="DIR",
        help=f"folder of the runs (default: {OUTPUT})",
    )
    parser.add_argument(
        "-o", "--to", dest="site", type=Path, default=Path("site"), metavar="SITE",
        help="folder of the pages: new, empty, or an earlier one, which is replaced (default: site)",
    )  # fmt: skip
    parser.add_argument(
        "--matches", nargs="+", default=[], metavar="RUN=FOLDER",
        help="drawn matches of a run, as peftcorr show wrote them; they are copied to its page",
    )  # fmt: skip


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand.

    Raises:
        PeftCorrError: if there are no records, one of them is not valid, or the pages cannot be written.
    """
    with importing():
        from peftcorr.report.site.build import build_site

    begun = time.monotonic()
    site = build_site(parsed.runs, parsed.site, _matches(parsed.matches, parsed.runs))
    console = Console()
    print_whole(console, str(site.page))
    print_line(
        console,
        f"{site.runs:,} runs, {numbers.memory(site.size)}, {time.monotonic() - begun:.1f} s.",
    )
    return 0


def _matches(given: list[str], root: Path) -> dict[str, Path]:
    """``--matches`` as folders by run id."""
    from peftcorr.results.runs import complete

    there = sorted(path.stem for path in (root / "records").glob("*.json"))
    found = {}
    for text in given:
        name, _, folder = text.partition("=")
        run_id = complete(name, there)
        if not folder or run_id is None:
            raise PeftCorrError(f"--matches takes RUN=FOLDER, not {shown(text)}.{did_you_mean(name, there)}")
        found[run_id] = expanded(Path(folder))
    return found

"""``peftcorr compile``: the leaderboard again, from the records that are there."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from peftcorr.commands.options import OUTPUT
from peftcorr.console.table import print_whole
from peftcorr.machine.startup import importing

SUMMARY = "Rewrite the leaderboard from the records."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument(
        "output", type=Path, nargs="?", default=OUTPUT, metavar="DIR",
        help=f"folder of the runs (default: {OUTPUT})",
    )  # fmt: skip
    parser.add_argument(
        "--format", dest="formats", nargs="+", choices=("svg", "pdf", "png"), default=["svg"], metavar="FORMAT",
        help="of the figures: svg, pdf, png, or several (default: svg)",
    )  # fmt: skip
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="write every row with every aggregate here too"
    )
    parser.add_argument(
        "--ranks", action="store_true",
        help="draw images and seeds anew, from the predictions that are there: intervals of several seeds, how often "
        "each row is the best, which gains are beyond chance; kept in ranks.json",
    )  # fmt: skip
    parser.add_argument("--latex", type=Path, metavar="FILE", help="write the tables for a paper here")


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand.

    Raises:
        PeftCorrError: if there are no records, one of them is not valid, or a file cannot be written.
    """
    with importing():
        from peftcorr.report.compile import compile_leaderboard

    page = compile_leaderboard(
        parsed.output, parsed.formats, csv=parsed.csv, latex=parsed.latex, ranks=parsed.ranks
    )
    print_whole(Console(), str(page))
    return 0

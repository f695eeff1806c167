"""``peftcorr export``: a trained model for its own library."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from peftcorr.commands.options import add_output, add_weights
from peftcorr.console.table import print_whole
from peftcorr.machine.startup import importing

SUMMARY = "Write a trained model for its own library, the adapter merged into it."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument("run_id", metavar="RUN", help="run id, or the beginning of one")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a new or empty folder")
    add_output(parser)
    add_weights(parser)


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand.

    Raises:
        PeftCorrError: if the run is not found or cannot be exported.
    """
    with importing():
        from peftcorr.model.export import export

    print_whole(Console(), export(parsed.run_id, parsed.folder, parsed.output, parsed.weights))
    return 0

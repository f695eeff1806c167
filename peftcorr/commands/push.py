"""``peftcorr push RUN user/name``: a trained adapter on the Hugging Face hub."""

from __future__ import annotations

import argparse

from rich.console import Console

from peftcorr.commands.options import add_output
from peftcorr.console.table import print_whole
from peftcorr.machine.startup import importing

SUMMARY = "Push a run's adapter, record and model card to the Hugging Face hub."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument("run_id", metavar="RUN", help="run id, or the beginning of one")
    parser.add_argument("name", metavar="user/name", help="repository, which is made if it is not there")
    parser.add_argument("--private", action="store_true", help="make a repository that only you can read")
    add_output(parser)


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand.

    Raises:
        PeftCorrError: if the run cannot be shared, or the hub refuses.
    """
    with importing():
        from peftcorr.model.hub import push

    print_whole(Console(), push(parsed.run_id, parsed.name, parsed.output, parsed.private))
    return 0

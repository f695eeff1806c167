"""``peftcorr submit RUN``: a run checked and laid out for a pull request to the leaderboard."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from peftcorr.commands import options
from peftcorr.console.table import print_whole
from peftcorr.machine.startup import importing

SUMMARY = "Check a run, make some of its predictions anew, and write the folder for a pull request."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument("run_id", metavar="RUN", help="run id, or the beginning of one")
    parser.add_argument(
        "-o",
        "--to",
        dest="folder",
        type=Path,
        metavar="FOLDER",
        help="a new or empty folder (default: submission-ID)",
    )
    options.add_output(parser)
    options.add_data_root(parser)
    options.add_weights(parser)


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand.

    Raises:
        PeftCorrError: if the run is not as it was written, or cannot be repeated here.
    """
    with importing():
        from accelerate import Accelerator

        from peftcorr.console.progress import Progress
        from peftcorr.engine.workbench import Workbench
        from peftcorr.machine.launch import on_cpu, use_all_cores
        from peftcorr.model.submission import submit

    use_all_cores()
    console = Console()
    bench = Workbench(
        options.data_roots(parsed.data_root),
        parsed.weights,
        parsed.output,
        options.cache_folder(),
        Progress(console),
    )
    print_whole(console, submit(parsed.run_id, parsed.folder, bench, Accelerator(cpu=on_cpu())))
    return 0

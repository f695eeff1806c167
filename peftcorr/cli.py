"""The command line: assembles the subcommands of `peftcorr.commands`, and turns errors into one sentence."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from peftcorr import __version__
from peftcorr.commands import (
    breakdown,
    cache,
    compare,
    compile,
    completion,
    data,
    export,
    ls,
    params,
    run,
    score,
    tune_predictor,
    validate,
    verify,
)
from peftcorr.errors import PeftCorrError
from peftcorr.machine.startup import announce, importing, is_main_process, quiet_libraries
from peftcorr.machine.termination import EXIT_CODE, Terminated, listening

COMMANDS = (
    run, ls, params, data, score, compare, breakdown, tune_predictor, compile, verify, export, validate, cache,
    completion,
)  # fmt: skip


def console() -> None:
    """Entry point of the ``peftcorr`` script."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command.

    Returns:
        Exit code: 0, 1 if a cell of a sweep failed, 2 if the user has something to mend, 130 if it was stopped,
        143 if SIGTERM ended it.
    """
    quiet_libraries()
    parser = make_parser()
    parsed = parser.parse_args(arguments, argparse.Namespace(arguments=list(arguments), parser=parser))
    try:
        with listening():
            return _carried_out(parsed)
    except PeftCorrError as error:
        Console(stderr=True).print(
            f"peftcorr: {error}", style="red", highlight=False, markup=False, soft_wrap=True
        )
        return 2
    except (KeyboardInterrupt, Terminated) as stop:
        ended = isinstance(stop, Terminated)
        if is_main_process():
            how = "ended by SIGTERM" if ended else "stopped"
            print(f"peftcorr: {how}; {str(stop) or 'nothing was saved yet'}.", file=sys.stderr)
        return EXIT_CODE if ended else 130


def _carried_out(parsed: argparse.Namespace) -> int:
    if parsed.announced:
        announce()
    if parsed.plugin:
        from peftcorr.registry import load_plugin_file

        with importing():
            for plugin in parsed.plugin:
                load_plugin_file(plugin)
    code: int = parsed.run(parsed)
    return code


def make_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands; a parsed command line has the command's function as ``run``."""
    parser = argparse.ArgumentParser(
        prog="peftcorr", description="Parameter-efficient fine-tuning on semantic correspondence."
    )
    parser.add_argument("--version", action="version", version=f"peftcorr {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2].replace("_", "-")
        subparser = subparsers.add_parser(
            name,
            help=command.SUMMARY,
            description=command.SUMMARY,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        subparser.add_argument(
            "--plugin", type=Path, action="append", default=[], metavar="FILE.py",
            help="Python file that registers more names; may be given several times",
        )  # fmt: skip
        subparser.set_defaults(run=command.run, announced=False)
        command.add_options(subparser)
    return parser


if __name__ == "__main__":
    console()

"""The command line: assembles the subcommands of `peftcorr.commands`, and turns errors into one sentence."""

from __future__ import annotations

import argparse
import atexit
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from peftcorr.commands import (
    breakdown,
    cache,
    check_plugin,
    compare,
    compile,
    completion,
    data,
    demo,
    export,
    ls,
    match,
    new,
    params,
    push,
    report,
    reproduce,
    reproduce_table,
    run,
    score,
    show,
    status,
    submit,
    tune_predictor,
    validate,
    verify,
)
from peftcorr.console.table import print_whole
from peftcorr.errors import PeftCorrError, reason, shortened, shown
from peftcorr.machine.startup import announce, importing, is_main_process, quiet_libraries, refuse_sharding
from peftcorr.machine.termination import EXIT_CODE, Terminated, listening
from peftcorr.machine.version import VERSION
from peftcorr.registry import blaming_plugins, load_plugin_file

COMMANDS = (
    run, status, ls, params, data, match, demo, score, show, compare, breakdown, tune_predictor, compile, report,
    verify, reproduce, reproduce_table, submit, push, export, validate, check_plugin, new, cache, completion,
)  # fmt: skip

_LONGEST = 2_000  # letters of a sentence
_UNREAD = 141  # as a shell has it of a command that SIGPIPE ended


def console(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the ``peftcorr`` script: run one command, and end the process.

    Args:
        arguments: of the command line; those of this process unless given.
    """
    code = 1

    def leave() -> None:
        with suppress(OSError, ValueError):  # nobody reads any more
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)

    # First in, last out: what libraries do at the end is done by then. Taking them apart takes a quarter of a second.
    atexit.register(leave)
    try:
        code = main(sys.argv[1:] if arguments is None else arguments)
    except SystemExit as ended:  # of argparse
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    sys.exit(code)


def main(arguments: Sequence[str]) -> int:
    """Run one command.

    Returns:
        Exit code: 0, 1 if a cell of a sweep failed, 2 if the user has something to mend, 130 if it was stopped, 141 if
        nobody reads what it prints any more, 143 if SIGTERM ended it.
    """
    quiet_libraries()
    parser = make_parser()
    parsed = parser.parse_args(arguments, argparse.Namespace(arguments=list(arguments), parser=parser))
    try:
        with listening():
            return _carried_out(parsed)
    except PeftCorrError as error:
        return _refuse(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what Python flushes at its end
        return _UNREAD
    except OSError as error:
        what = shortened(str(error.filename or "a file"), 200)
        return _refuse(f"Cannot read or write {what}: {error.strerror or reason(error)}.")
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # rich's answer to it
            return _UNREAD
        return _refuse(f"A plugin or a library ended the command, with {shown(stop.code)}.")
    except (KeyboardInterrupt, Terminated) as stop:
        ended = isinstance(stop, Terminated)
        if is_main_process():
            how = "ended by SIGTERM" if ended else "stopped"
            print(f"peftcorr: {how}; {str(stop) or 'nothing was saved yet'}.", file=sys.stderr)
        return EXIT_CODE if ended else 130


def _carried_out(parsed: argparse.Namespace) -> int:
    refuse_sharding()
    if parsed.announced:
        announce()
    if parsed.plugin:
        with importing():
            for plugin in parsed.plugin:
                load_plugin_file(plugin)
    with blaming_plugins():
        code: int = parsed.run(parsed)
    if sys.stdout is not None:  # where it was closed before the start
        sys.stdout.flush()
    return code


def _refuse(sentence: str) -> int:
    """Say what is to be mended, which stands at a sentence's end, however long the names in it are."""
    if len(sentence) > _LONGEST:
        sentence = f"{sentence[: _LONGEST // 2]} … {sentence[-_LONGEST // 2 :]}"
    print_whole(Console(stderr=True), f"peftcorr: {sentence}", style="red")
    return 2


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line as short as with anything else."""

    def error(self, message: str) -> NoReturn:
        super().error(shortened(message, _LONGEST))


def make_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands; a parsed command line has the command's function as ``run``."""
    parser = _Parser(
        prog="peftcorr", description="Parameter-efficient fine-tuning on semantic correspondence."
    )
    parser.add_argument("--version", action="version", version=f"peftcorr {VERSION}")
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

"""``peftcorr completion``: a script with which a shell completes commands, options and paths."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "Print a script that lets a shell complete peftcorr's commands and options."

EXAMPLES = """examples:
  peftcorr completion bash > ~/.local/share/bash-completion/completions/peftcorr
  peftcorr completion fish > ~/.config/fish/completions/peftcorr.fish
  with fpath+=(~/.zfunc) before compinit in ~/.zshrc:
  peftcorr completion zsh > ~/.zfunc/_peftcorr
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.epilog = EXAMPLES
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="for which shell")


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand."""
    import shtab

    _complete_paths(parsed.parser, shtab.FILE, shtab.DIRECTORY)
    print(shtab.complete(parsed.parser, parsed.shell))
    return 0


def _complete_paths(parser: argparse.ArgumentParser, file: object, folder: object) -> None:
    """Tell shtab which arguments are paths."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                _complete_paths(subparser, file, folder)
        elif action.type is Path:
            is_folder = action.metavar in ("DIR", "FOLDER")
            action.complete = folder if is_folder else file  # type: ignore[attr-defined]

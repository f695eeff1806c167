"""``peftcorr new``: a file to start a plugin from, which works as it is."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from string import Template
from typing import Any

from rich.console import Console

from peftcorr.backbones import BACKBONES
from peftcorr.console.table import print_line
from peftcorr.data import DATASETS
from peftcorr.errors import PeftCorrError
from peftcorr.files import atomic_path
from peftcorr.matching import PREDICTORS
from peftcorr.registry import Registry
from peftcorr.strategies import STRATEGIES

SUMMARY = "Write a file to start a strategy, backbone, dataset or predictor of your own from."

REGISTRIES: tuple[Registry[Any], ...] = (STRATEGIES, BACKBONES, DATASETS, PREDICTORS)

_TEMPLATES = Path(__file__).parent / "templates"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument("kind", choices=[registry.kind for registry in REGISTRIES], help="what it is to be")
    parser.add_argument(
        "name",
        metavar="NAME",
        help="what recipes will call it: small letters, digits and _; NAME.py is written here",
    )


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand.

    Raises:
        PeftCorrError: if the name cannot be taken, or the file is there already.
    """
    kind, name, file = parsed.kind, parsed.name, Path(f"{parsed.name}.py")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,60}", name):
        raise PeftCorrError(
            f"The name of a new {kind} is of small letters, digits and _, a letter first: choose such a one."
        )
    [registry] = [registry for registry in REGISTRIES if registry.kind == kind]
    if registry.find(name) is not None:
        raise PeftCorrError(f"There is a {kind} {name} already: choose another name.")
    if file.exists():
        raise PeftCorrError(f"{file} is there already: choose another name or folder.")
    template = Template((_TEMPLATES / f"{kind}.txt").read_text(encoding="utf-8"))
    title = "".join(part.capitalize() for part in name.split("_"))
    with atomic_path(file) as temporary:
        temporary.write_text(template.substitute(name=name, title=title), encoding="utf-8")
    data = " --data-root DIR" if kind == "dataset" else ""
    console = Console()
    print_line(console, f"{file} works as it is. Change it, then")
    print_line(console, f"  peftcorr check-plugin {file}{data}")
    print_line(console, f"  peftcorr run --plugin {file} --{kind} {name}{data}")
    return 0

"""``peftcorr params``: how many parameters each strategy trains on each backbone, from shapes alone."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from peftcorr.commands.options import MANY
from peftcorr.console.progress import Progress
from peftcorr.console.table import print_table, print_whole
from peftcorr.errors import PeftCorrError
from peftcorr.machine.startup import importing

if TYPE_CHECKING:
    from peftcorr.registry import Registry

SUMMARY = "Count parameters per strategy and backbone, without weights."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument(
        "--strategy", metavar="NAME", **MANY, help="these alone (default: all that have default options)"
    )
    parser.add_argument(
        "--backbone", metavar="NAME", **MANY, help="these alone (default: all that can be built here)"
    )


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand: the counts of every combination at its default options, or why there is none.

    Raises:
        PeftCorrError: if a name is unknown.
    """
    with importing():
        from peftcorr.backbones import BACKBONES
        from peftcorr.engine.cost import parameter_counts
        from peftcorr.strategies import STRATEGIES

        names = parsed.backbone or [name for name in BACKBONES.names() if has_defaults(BACKBONES, name)]
        backbones = {name: BACKBONES.get(name) for name in names}
        wanted = parsed.strategy or [name for name in STRATEGIES.names() if has_defaults(STRATEGIES, name)]
    rows: list[Sequence[str]] = []
    impossible = []
    with Progress(Console(stderr=True)).track("count parameters", len(backbones), "backbones") as bar:
        for name, backbone in backbones.items():
            for strategy, found in parameter_counts(backbone, wanted):
                if isinstance(found, PeftCorrError):
                    impossible.append(f"{strategy} on {name}: {found}")
                    rows.append((name, strategy, "impossible"))
                    continue
                trainable, total = found
                share = f"{100 * trainable / total:.3f}"
                rows.append((name, strategy, f"{trainable:,}", f"{total:,}", share))
            bar.advance(1)
    console = Console()
    print_table(console, ("backbone", "strategy", "trainable", "total", "%"), rows, text=(0, 1))
    for reason in impossible:
        print_whole(console, reason)
    return 0


def has_defaults(registry: Registry[Any], name: str) -> bool:
    """Whether a class can be made without options; one that a missing extra forbids is left out too."""
    from pydantic import ValidationError

    try:
        registry.get(name).Config()
    except (ValidationError, PeftCorrError):
        return False
    return True

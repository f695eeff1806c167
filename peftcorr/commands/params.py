"""``peftcorr params``: how many parameters each strategy trains on each backbone, from shapes alone."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console

from peftcorr.commands.options import MANY
from peftcorr.console.table import print_table
from peftcorr.errors import PeftCorrError
from peftcorr.machine.processors import processors
from peftcorr.machine.startup import importing

if TYPE_CHECKING:
    from peftcorr.registry import Registry

SUMMARY = "Count parameters per strategy and backbone, without weights."

Counts = list[tuple[str, tuple[int, int] | PeftCorrError]]  # of each strategy: trainable, total; or why none


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
    rows: list[Sequence[str]] = []
    impossible = []
    for name, counted in counts(parsed.backbone, parsed.strategy):
        for strategy, found in counted:
            if isinstance(found, PeftCorrError):
                impossible.append(f"{strategy} on {name}: {found}")
                rows.append((name, strategy, "impossible"))
                continue
            trainable, total = found
            rows.append((name, strategy, f"{trainable:,}", f"{total:,}", f"{100 * trainable / total:.3f}"))
    console = Console()
    print_table(console, ("backbone", "strategy", "trainable", "total", "%"), rows, text=(0, 1))
    for reason in impossible:
        console.print(reason, highlight=False, markup=False, soft_wrap=True)
    return 0


def counts(backbones: Sequence[str], strategies: Sequence[str]) -> Iterator[tuple[str, Counts]]:
    """Each backbone with its counts; on Linux a core counts one, in a process forked with all that is imported.

    Args:
        backbones, strategies: names; where there are none, all that can be made without options.

    Raises:
        PeftCorrError: if a name is unknown.
    """
    with importing():
        import torch

        from peftcorr.backbones import BACKBONES
        from peftcorr.strategies import STRATEGIES

        names = backbones or [name for name in BACKBONES.names() if has_defaults(BACKBONES, name)]
        for name in names:
            BACKBONES.get(name)
        wanted = strategies or [name for name in STRATEGIES.names() if has_defaults(STRATEGIES, name)]
    count = partial(_count, wanted)
    if sys.platform != "linux" or min(processors(), len(names)) < 2:
        yield from zip(names, map(count, names), strict=True)
        return
    with ProcessPoolExecutor(
        processors(),
        multiprocessing.get_context("fork"),
        initializer=torch.set_num_threads,
        initargs=(1,),  # torch's own threads do not outlive a fork
    ) as pool:
        yield from zip(names, pool.map(count, names), strict=True)


def _count(strategies: Sequence[str], backbone: str) -> Counts:
    from peftcorr.backbones import BACKBONES
    from peftcorr.engine.cost import parameter_counts

    return list(parameter_counts(BACKBONES.get(backbone), strategies))


def has_defaults(registry: Registry[Any], name: str) -> bool:
    """Whether a class can be made without options; one that a missing extra forbids is left out too."""
    from pydantic import ValidationError

    try:
        registry.get(name).Config()
    except (ValidationError, PeftCorrError):
        return False
    return True

"""``peftcorr compare RUN_A RUN_B``: is one run better than another, or is it chance?"""

from __future__ import annotations

import argparse
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console

from peftcorr.commands.options import ALPHAS, RUN, add_output
from peftcorr.console.numbers import MISSING
from peftcorr.console.table import print_line, print_table
from peftcorr.errors import PeftCorrError
from peftcorr.machine.startup import importing

if TYPE_CHECKING:
    from peftcorr.metrics.compare import Difference


SUMMARY = "Compare two runs: difference, interval and p-value."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument("first", metavar="RUN_A", help=RUN)
    parser.add_argument("second", metavar="RUN_B", help="the run that is compared with it")
    add_output(parser)
    parser.add_argument(
        "--alphas",
        type=float,
        nargs="+",
        metavar="A",
        help="thresholds (default: those of the runs' records)",
    )
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="definition of correct (default: the one that the runs' records follow)",
    )
    parser.add_argument(
        "--predictor", nargs="+", default=[], metavar="NAME",
        help="compare this one alone; or RUN_A by the first with RUN_B by the second",
    )  # fmt: skip


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand.

    Raises:
        PeftCorrError: if a run is not found or the two cannot be compared.
    """
    with importing():
        from peftcorr.metrics.bootstrap import RESAMPLES
        from peftcorr.metrics.compare import compare
        from peftcorr.metrics.presets import preset_named
        from peftcorr.metrics.rows import groups
        from peftcorr.results.protocol import agreed_alphas, agreed_preset, check_same_pairs
        from peftcorr.results.runs import checked_predictions, find_predictions, record_beside

    if len(parsed.predictor) > 2:
        raise PeftCorrError(
            f"--predictor takes one name, or one for each run: there are {len(parsed.predictor)}."
        )
    one, other = (find_predictions(run, parsed.output) for run in (parsed.first, parsed.second))
    names = (one.stem, other.stem) if one.stem != other.stem else (str(one), str(other))
    records = (record_beside(one), record_beside(other))
    check_same_pairs(records, names)
    preset = agreed_preset(records, names) if parsed.preset is None else preset_named(parsed.preset)
    alphas = parsed.alphas or agreed_alphas(records, names) or ALPHAS
    tables = checked_predictions(one), checked_predictions(other)
    found = compare(*tables, alphas, parsed.predictor, preset=preset, names=names)
    console = Console()
    for line in (f"A: {names[0]}", f"B: {names[1]}", f"Correct as defined by: {preset.name}"):
        print_line(console, line)
    for letter, table in zip("AB", tables, strict=True):
        theirs = dict.fromkeys(f"{dataset}/{split}" for (dataset, split, _), _ in groups(table))
        if left_out := [split for split in theirs if split not in {row.split for row in found}]:
            print_line(console, f"{letter} alone has {', '.join(left_out)}.")
    for (split, predictors), rows in groupby(found, key=lambda one: (one.split, one.predictors)):
        console.print()
        print_table(
            console,
            ["aggregate", "PCK", "A", "B", "B - A", "95 % interval", "p"],
            [_cells(row, RESAMPLES) for row in rows],
            text=(0, 1),
            title=f"{split}, {' and '.join(dict.fromkeys(predictors))}",
        )
    print_line(
        console,
        f"B - A in percentage points, its 95 % interval and two-sided p-value: bootstrap over images, {RESAMPLES:,} "
        "resamples, the same for both runs. The p-value is for one question: of many, some fall below 0.05 by chance.",
    )
    return 0


def _cells(row: Difference, resamples: int) -> list[str]:
    return [
        row.aggregate.replace("_", " "),
        f"@{row.alpha}",
        *(f"{score:.2f}" for score in row.scores),
        f"{row.difference:+.2f}",
        MISSING if row.interval is None else f"[{row.interval[0]:+.2f}, {row.interval[1]:+.2f}]",
        _p_value(row.p_value, 2 / (resamples + 1)),
    ]


def _p_value(value: float | None, least: float) -> str:
    if value is None:
        return MISSING
    return f"<={least:.3f}" if value <= least else f"{value:.3f}"

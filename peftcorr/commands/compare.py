"""``peftcorr compare RUN_A RUN_B``: is one method better than another, or is it chance?"""

from __future__ import annotations

import argparse
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console

from peftcorr.commands.options import ALPHAS, RUN, add_output
from peftcorr.console.numbers import MISSING, signed
from peftcorr.console.table import print_line, print_table
from peftcorr.errors import PeftCorrError
from peftcorr.machine.startup import importing

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from peftcorr.metrics.compare import Difference


SUMMARY = "Compare two runs, or two methods of several seeds: difference, interval and p-value."

EXAMPLES = """examples:
  one run with another:
    peftcorr compare RUN_A RUN_B
  three seeds of one method with three of another, so that the interval covers other seeds too:
    peftcorr compare A1 A2 A3 --with B1 B2 B3
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help=f"two runs; before --with the seeds of the first method: {RUN}"
    )
    parser.add_argument(
        "--with", dest="others", nargs="+", default=[], metavar="RUN",
        help="the run that is compared with them, or the seeds of the second method",
    )  # fmt: skip
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
        PeftCorrError: if a run is not found, the runs of a method are not seeds of one recipe, or the two cannot be
            compared.
    """
    with importing():
        from peftcorr.metrics.bootstrap import RESAMPLES
        from peftcorr.metrics.compare import compare
        from peftcorr.metrics.presets import preset_named
        from peftcorr.results.protocol import agreed_alphas, agreed_preset, check_same_pairs, check_seeds
        from peftcorr.results.runs import checked_predictions, find_predictions, record_beside

    if len(parsed.predictor) > 2:
        raise PeftCorrError(
            f"--predictor takes one name, or one for each run: there are {len(parsed.predictor)}."
        )
    sets = [[find_predictions(run, parsed.output) for run in runs] for runs in _two_sets(parsed)]
    paths = [path for runs in sets for path in runs]
    apart = len({path.stem for path in paths}) == len({path.absolute() for path in paths})
    names = [[path.stem if apart else str(path) for path in runs] for runs in sets]
    records = [[record_beside(path) for path in runs] for runs in sets]
    first, named = records[0][0], names[0][0]
    preset, alphas = None, parsed.alphas
    for known, called in zip(records, names, strict=True):
        check_seeds(known, called)
        for record, name in zip(known, called, strict=True):
            both, of = (first, record), (named, name)
            check_same_pairs(both, of)
            agreed = agreed_preset(both, of) if parsed.preset is None else preset_named(parsed.preset)
            preset = agreed if record is not None or preset is None else preset
            alphas = parsed.alphas or agreed_alphas(both, of) or alphas
    assert preset is not None
    tables = [[checked_predictions(path) for path in runs] for runs in sets]
    found = compare(
        tables[0], tables[1], alphas or ALPHAS, parsed.predictor, preset=preset, names=(names[0], names[1])
    )
    console = Console()
    for letter, called in zip("AB", names, strict=True):
        print_line(console, f"{letter}: {', '.join(called)}")
    print_line(console, f"Correct as defined by: {preset.name}")
    _say_left_out(tables, found, console)
    for (split, predictors), rows in groupby(found, key=lambda one: (one.split, one.predictors)):
        console.print()
        print_table(
            console,
            ["aggregate", "PCK", "A", "B", "B - A", "95 % interval", "p", "p of all"],
            [_cells(row, RESAMPLES) for row in rows],
            text=(0, 1),
            title=f"{split}, {' and '.join(dict.fromkeys(predictors))}",
        )
    for line in _explained([len(runs) for runs in sets], len(found), RESAMPLES):
        print_line(console, line)
    return 0


def _two_sets(parsed: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The runs of A and those of B."""
    if parsed.others:
        return parsed.runs, parsed.others
    if len(parsed.runs) != 2:
        raise PeftCorrError(
            f"Two runs are compared, and the command names {len(parsed.runs)}: name two, or the seeds of each method "
            "as in A1 A2 A3 --with B1 B2 B3."
        )
    return parsed.runs[:1], parsed.runs[1:]


def _say_left_out(
    tables: Sequence[Sequence[pa.Table]], found: Sequence[Difference], console: Console
) -> None:
    from peftcorr.metrics.rows import groups

    compared = {row.split for row in found}
    for letter, runs in zip("AB", tables, strict=True):
        theirs = dict.fromkeys(f"{dataset}/{split}" for run in runs for (dataset, split, _), _ in groups(run))
        if left_out := [split for split in theirs if split not in compared]:
            print_line(console, f"{letter} alone has {', '.join(left_out)}.")


def _explained(runs: Sequence[int], comparisons: int, resamples: int) -> list[str]:
    if max(runs) == 1:
        seeds = "Neither covers other seeds of the training: give several of each method, with --with."
    else:
        alone = [letter for letter, count in zip("AB", runs, strict=True) if count == 1]
        rest = f" {alone[0]} is a single run: of its other seeds they say nothing." if alone else ""
        seeds = f"Both cover other seeds too, by Student's t over the runs of each method.{rest}"
    return [
        f"B - A in percentage points, its 95 % interval and two-sided p-value: bootstrap over images, {resamples:,} "
        f"resamples, the same for all runs. {seeds}",
        f"p is for one question. p of all is for all {comparisons} of this page (Holm); * marks those below 0.05.",
    ]


def _cells(row: Difference, resamples: int) -> list[str]:
    return [
        row.aggregate.replace("_", " "),
        f"@{row.alpha}",
        *(f"{score:.2f}" for score in row.scores),
        signed(row.difference),
        MISSING if row.interval is None else f"[{', '.join(map(signed, row.interval))}]",
        _p_value(row.p_value, 2 / (resamples + 1)),
        _corrected(row),
    ]


def _p_value(value: float | None, least: float) -> str:
    if value is None:
        return MISSING
    return f"<={least:.3f}" if value <= least else f"{value:.3f}"


def _corrected(row: Difference) -> str:
    from peftcorr.metrics.ranks import SIGNIFICANT

    if row.corrected is None:
        return MISSING
    shown = "<0.001" if row.corrected < 0.0005 else f"{row.corrected:.3f}"
    return f"{shown} {'*' if row.corrected < SIGNIFICANT else ' '}"

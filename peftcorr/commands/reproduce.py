"""``peftcorr reproduce RECORD.json``: a record's recipe carried out again, and how far the scores are from it."""

from __future__ import annotations

import argparse
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from peftcorr.commands import options
from peftcorr.console.numbers import MISSING, limits, signed
from peftcorr.console.table import print_line, print_table, print_whole
from peftcorr.errors import PeftCorrError
from peftcorr.machine.startup import importing

if TYPE_CHECKING:
    from peftcorr.engine.plan import Plan
    from peftcorr.results.record import Record
    from peftcorr.results.reproduction import Distance

SUMMARY = "Carry out a record's recipe again, and say how far the scores are from it."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument("record", type=Path, metavar="RECORD.json", help="record of a run")
    parser.add_argument(
        "-o", "--output", type=Path, default=options.OUTPUT, metavar="DIR",
        help=f"where the run is carried out; one of the same id there is done anew (default: {options.OUTPUT})",
    )  # fmt: skip
    options.add_data_root(parser)
    options.add_weights(parser)


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand.

    Returns:
        0 where every score is the same or inside the record's interval, else 1.

    Raises:
        PeftCorrError: if the record has nothing to repeat, or its recipe cannot be carried out here.
    """
    with importing():
        from accelerate import PartialState

        from peftcorr.console.progress import Progress
        from peftcorr.engine.plan import finalise
        from peftcorr.engine.workbench import Workbench
        from peftcorr.machine.folders import places_of
        from peftcorr.machine.launch import on_cpu, use_all_cores
        from peftcorr.recipe import validate
        from peftcorr.results.reproduction import distances, same_files
        from peftcorr.results.store import Store, read_record
        from peftcorr.sweep.here import attempt, make_ready

    recorded = read_record(parsed.record)
    if recorded.status != "ok":
        raise PeftCorrError(
            f"{parsed.record} is the record of a run that failed: there are no scores to reproduce."
        )
    own = Store(parsed.output).record_path(recorded.run_id)
    if own.exists() and own.samefile(parsed.record):
        raise PeftCorrError(
            f"{parsed.record} lies where it would be written anew: give another folder with --output."
        )
    places = places_of(parsed.output)
    for place in places:
        place.require_writable()
    use_all_cores()
    state = PartialState(cpu=on_cpu())
    console = Console(quiet=not state.is_main_process)
    bench = Workbench(
        options.data_roots(parsed.data_root),
        parsed.weights,
        parsed.output,
        options.cache_folder(),
        Progress(console),
    )
    plan = finalise(validate(recorded.recipe, str(parsed.record)), bench)
    for line in _other_ingredients(recorded, plan):
        print_line(console, line)
    make_ready([plan], bench, "always", places)
    outcome = attempt(plan, bench, "always", f"{plan.title} ({plan.run_id})", patient=True)
    found = bench.store.read(plan.run_id)
    if outcome is None or outcome.error is not None or found is None:
        raise PeftCorrError(f"The run could not be repeated: {outcome and outcome.error}")
    rows = distances(recorded, found)
    _print(rows, console)
    print_whole(console, _verdict(rows))
    if same_files(recorded, found):
        print_line(console, "Its predictions and its adapter are the same files, byte for byte.")
    elif not all(row.same for row in rows):
        print_line(console, _machines(recorded, found))
    return 0 if rows and all(row.inside for row in rows) else 1


def _other_ingredients(recorded: Record, plan: Plan) -> list[str]:
    """What this run reads that the record's did not."""
    from peftcorr.results.identity import changed

    if recorded.schema_version == 1:
        return [
            "The record is of version 1: nothing tells whether it was made from the same data and weights."
        ]
    others = changed(recorded.ingredients, plan.ingredients)
    return [f"Not as when the record was made: {', '.join(others)}."] if others else []


def _print(rows: list[Distance], console: Console) -> None:
    for (where, predictor), group in groupby(rows, key=lambda row: (row.where, row.predictor)):
        print_table(
            console,
            ["aggregate", "threshold", "record", "here", "difference", "95 % interval", ""],
            [_cells(row) for row in group],
            text=(0, 1, 6),
            title=f"{where}, {predictor}",
        )
        console.print()


def _cells(row: Distance) -> list[str]:
    return [
        row.aggregate.replace("_", " "),
        f"@{row.alpha}" if row.alpha else "",
        f"{row.recorded:.2f}",
        MISSING if row.found is None else f"{row.found:.2f}",
        MISSING if row.found is None else signed(row.found - row.recorded),
        MISSING if row.interval is None else limits(row.interval),
        _judged(row),
    ]


def _judged(row: Distance) -> str:
    if row.same:
        return "same digits"
    if row.found is None:
        return "missing"
    digits = f"{row.decimals} decimals the same" if row.decimals else "no decimal the same"
    if row.interval is None:
        return f"no interval, {digits}"
    return f"{'inside' if row.inside else 'OUTSIDE'}, {digits}"


def _verdict(rows: list[Distance]) -> str:
    if not rows:
        return "The record has no scores."
    if all(row.same for row in rows):
        return f"All {len(rows)} scores are the same to the last digit."
    counts = Counter("the same" if row.same else "inside" if row.inside else "outside" for row in rows)
    furthest = max((row for row in rows if row.found is not None), key=_gap, default=None)
    far = "" if furthest is None else f"; the furthest is {_gap(furthest):.2g} points off"
    told = ", ".join(
        f"{counts[kind]} {text}"
        for kind, text in (
            ("the same", "the same to the last digit"),
            ("inside", "inside the record's interval"),
            ("outside", "not inside it"),
        )
        if counts[kind]
    )
    return f"Of {len(rows)} scores {told}{far}."


def _gap(row: Distance) -> float:
    return 0.0 if row.found is None else abs(row.found - row.recorded)


def _machines(recorded: Record, found: Record) -> str:
    """What both ran on, where that is known and not the same."""
    before, now = recorded.environment, found.environment
    if before is None or now is None:
        return ""
    differing = [
        f"{name} {before.packages.get(name, MISSING)} and {now.packages.get(name, MISSING)}"
        for name in sorted({*before.packages, *now.packages})
        if before.packages.get(name) != now.packages.get(name)
    ]
    places = before.gpu or before.cpu, now.gpu or now.cpu
    differing += [f"{places[0]} and {places[1]}"] if places[0] != places[1] else []
    differing += (
        [f"{before.processes} and {now.processes} processes"] if before.processes != now.processes else []
    )
    return f"Then and now: {'; '.join(differing)}." if differing else ""

"""``peftcorr reproduce-table men/3``: the runs of a published table, and what was published beside what they score."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from peftcorr.commands import options
from peftcorr.console.numbers import MISSING, Spread, percentage
from peftcorr.console.table import print_line, print_table, print_whole
from peftcorr.errors import PeftCorrError, shown
from peftcorr.machine.startup import importing

if TYPE_CHECKING:
    from peftcorr.config import Section
    from peftcorr.engine.plan import Plan
    from peftcorr.metrics.scores import Scores
    from peftcorr.results.store import Store
    from peftcorr.sweep.tables import PublishedTable, TableCell

SUMMARY = "Run the cells of a published table, and lay the published figures beside."

EXAMPLES = """examples:
  what the table's runs would take, without data or weights:
    peftcorr reproduce-table men/3 --dry-run
  the table itself:
    peftcorr reproduce-table men/3 --data-root SPAIR_FOLDER
  its methods with this project's loss:
    peftcorr reproduce-table men/3 --data-root SPAIR_FOLDER --loss own
  its methods on other data and another backbone:
    peftcorr reproduce-table men/3 --dataset synthetic --backbone tiny --steps 20
"""

_ALPHA = "0.1"
_AGGREGATES = ("per_keypoint", "per_image")
_H100 = (
    67e12  # operations a second in single precision without tensor cores: NVIDIA's data sheet of the H100 SXM
)
_REACHED = 0.4  # of it; an assumption
_HOUR = 3600


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.epilog = EXAMPLES
    parser.add_argument("table", metavar="TABLE", help="men/1 to men/6, men/figure-2, brief, or a YAML file")
    parser.add_argument(
        "--dataset", metavar="NAME", help="what is trained on and scored in the published one's place"
    )
    parser.add_argument(
        "--backbone", metavar="NAME", help="what is adapted in place of the table's backbones"
    )
    parser.add_argument("--seed", type=int, metavar="N", nargs="+", default=[0], help="seeds (default: 0)")
    parser.add_argument("--steps", type=int, metavar="N", help="how many steps are trained")
    parser.add_argument(
        "--loss", choices=("report", "own"), default="report",
        help="the report's, a distance alone, or this project's own (default: report)",
    )  # fmt: skip
    parser.add_argument(
        "--set",
        metavar="key=value",
        action="extend",
        **options.MANY,
        help="any key of every cell's recipe that neither the table nor an option above says",
    )
    options.add_image_size(parser)
    options.add_data_root(parser)
    options.add_weights(parser)
    options.add_output(parser, "where records, predictions and adapters go")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the cells with hours on an H100, and run nothing"
    )


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand.

    Returns:
        0, or 1 if a cell failed.

    Raises:
        PeftCorrError: if there is no such table, or a cell is wrong, before the first one starts.
    """
    with importing():
        from peftcorr.machine.launch import on_cpu, use_all_cores
        from peftcorr.sweep.tables import read_table

        use_all_cores()

    table = read_table(parsed.table)
    if parsed.dry_run:
        _print_estimates(table, parsed, Console())
        return 0

    with importing():
        from accelerate import PartialState

        from peftcorr.config import make
        from peftcorr.console.progress import Progress
        from peftcorr.engine.workbench import Workbench
        from peftcorr.machine.folders import places_of
        from peftcorr.strategies import STRATEGIES
        from peftcorr.sweep.cells import Asked
        from peftcorr.sweep.cells import cells as planned
        from peftcorr.sweep.here import make_ready, sweep

    places = places_of(parsed.output)
    for place in places:
        place.require_writable()
    state = PartialState(cpu=on_cpu())
    console = Console(quiet=not state.is_main_process)
    bench = Workbench(
        options.data_roots(parsed.data_root), parsed.weights, parsed.output, options.cache_folder(), Progress(console)
    )  # fmt: skip
    found: list[tuple[TableCell, list[Plan]]] = []
    for cell, fixed in _cells(table, parsed):
        # What trains nothing is the same run for every seed.
        seeds = parsed.seed if make(STRATEGIES, cell.strategy_section).trains() else parsed.seed[:1]
        asked = Asked({"seed": seeds}, fixed, parsed.set, Path(table.recipe))
        found.append((cell, [plan for _, plan in planned(asked, bench)]))
    plans = list({plan.run_id: plan for _, of_cell in found for plan in of_cell}.values())
    make_ready(plans, bench, "missing", places)
    outcomes = sweep(plans, bench, "missing")
    _print_table(table, found, bench.store, console)
    for outcome in outcomes:
        if outcome.error is not None:
            print_whole(console, f"Failed: {outcome.plan.title}: {outcome.error}")
    state.wait_for_everyone()
    state.destroy_process_group()
    return int(any(outcome.error is not None for outcome in outcomes))


def _cells(table: PublishedTable, parsed: argparse.Namespace) -> Iterator[tuple[TableCell, dict[str, Any]]]:
    """The cells with what each lays over the table's recipe."""
    from peftcorr.config import merge
    from peftcorr.recipe import parse_set
    from peftcorr.sweep.tables import LOSSES

    seen = set()
    for cell in table.cells():
        backbone = cell.backbone_section if parsed.backbone is None else {"name": parsed.backbone}
        if parsed.image_size is not None:
            backbone = {**backbone, "image_size": parsed.image_size}
        if (key := (str(backbone), cell.method)) in seen:  # one backbone in the place of several
            continue
        seen.add(key)
        fixed: dict[str, Any] = {
            "backbone": backbone,
            "strategy": cell.strategy_section,
            "predictors": [table.known_predictors[name] for name in table.predictors],
            "eval_on": [] if parsed.dataset else [{"name": name} for name in table.eval_on],
        }
        if parsed.dataset is not None:
            fixed["dataset"] = {"name": parsed.dataset}
        if parsed.steps is not None:
            fixed["training"] = {"steps": parsed.steps}
        fixed = merge(fixed, LOSSES[parsed.loss])
        _refuse_what_is_said(fixed, parse_set(parsed.set))
        yield cell, fixed


def _refuse_what_is_said(fixed: Section, asked: Section, above: str = "") -> None:
    """Refuse what ``--set`` would not reach.

    Raises:
        PeftCorrError: naming a key that the table or another option sets.
    """
    for key, value in asked.items():
        name = above + key
        if name == "seed":
            raise PeftCorrError("--set seed: give --seed.")
        there = fixed.get(key)
        if isinstance(there, dict) and isinstance(value, dict):
            _refuse_what_is_said(there, value, f"{name}.")
        elif key in fixed:
            raise PeftCorrError(
                f"--set {shown(name)}: the table or another option says it already. Give that option, or a copy of the "
                "table's file with another value."
            )


def _print_estimates(table: PublishedTable, parsed: argparse.Namespace, console: Console) -> None:
    """What the cells would take, from shapes alone."""
    from peftcorr.engine.cost import estimate, trained_images
    from peftcorr.engine.plan import Model
    from peftcorr.recipe import resolve

    rows: list[Sequence[str]] = []
    impossible, whole, runs = [], 0.0, 0
    for cell, fixed in _cells(table, parsed):
        recipe = resolve(fixed, parsed.set, Path(table.recipe))
        model = Model.of(recipe, lambda cls, config: None)
        name = parsed.backbone or cell.backbone
        try:
            cost = estimate(model)
        except PeftCorrError as error:
            impossible.append(f"{name}, {cell.method}: {error}")
            rows.append((name, cell.method, "impossible"))
            continue
        trained = trained_images(recipe.training) if cost.trainable else 0
        validations = -(-recipe.training.steps // recipe.training.validate_every) if cost.trainable else 0
        scored = table.scored_images(recipe.dataset["name"], validations)
        work = cost.train_flops * trained + cost.forward_flops * scored
        seeds = len(set(parsed.seed)) if cost.trainable else 1
        hours = work / (_H100 * _REACHED) / _HOUR * seeds
        whole, runs = whole + hours, runs + seeds
        rows.append(
            (
                name,
                cell.method,
                f"{cost.trainable:,}",
                f"{trained:,}",
                f"{scored:,}" if scored else MISSING,
                f"{work / 1e15:,.2f}",
                str(seeds),
                f"{hours:.2f}",
            )
        )
    print_table(
        console,
        [
            "backbone",
            "method",
            "trainable",
            "images trained",
            "images scored",
            "PFLOP a run",
            "seeds",
            "H100 hours",
        ],
        rows,
        text=(0, 1),
        title=f"{table.title} ({table.source})",
    )
    for reason in impossible:
        print_whole(console, reason)
    print_line(
        console,
        f"{runs} runs, {whole:.1f} hours on one H100: counted operations of training and of encoding what is scored, "
        f"at {_REACHED:.0%} of {_H100 / 1e12:.0f} TFLOP/s (single precision, NVIDIA's data sheet; the share is "
        "assumed, not measured). Reading images, matching and the frozen blocks' one pass are not in it.",
    )


def _print_table(
    table: PublishedTable, found: Sequence[tuple[TableCell, list[Plan]]], store: Store, console: Console
) -> None:
    """What was scored, a row a cell and predictor, beside what was published."""
    rows: dict[str, list[Sequence[str]]] = {}
    for cell, plans in found:
        backbone = cell.backbone
        if plans[0].recipe.backbone["name"] != cell.backbone_section["name"]:
            backbone = str(plans[0].recipe.backbone["name"])
        for source in plans[0].tested:
            where = f"{source.name}/test"
            for named, label in zip(table.predictors, plans[0].labels, strict=True):
                scores = [_scores(store, plan, where, label) for plan in plans]
                known = [one for one in scores if one is not None]
                figure = table.figure(cell, named, source.name) if backbone == cell.backbone else None
                rows.setdefault(where, []).append(
                    (
                        backbone,
                        cell.method,
                        named,
                        *(
                            _measured([getattr(one, name).get(_ALPHA) for one in known])
                            for name in _AGGREGATES
                        ),
                        *(_quoted(figure, name) for name in _AGGREGATES),
                    )
                )
    for where, lines in rows.items():
        console.print()
        print_table(
            console,
            [
                "backbone",
                "method",
                "predictor",
                "per keypoint",
                "per image",
                "published per keypoint",
                "published per image",
            ],
            lines,
            text=(0, 1, 2),
            title=f"{table.title}: PCK@{_ALPHA} on {where}",
        )
    print_line(console, f"Published: {table.source}; {MISSING} where no figure is known.")


def _scores(store: Store, plan: Plan, where: str, label: str) -> Scores | None:
    record = store.read(plan.run_id)
    return None if record is None else record.scores.get(where, {}).get(label)


def _measured(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return percentage(Spread.over(known)) if known else MISSING


def _quoted(figure: Any, name: str) -> str:
    value = None if figure is None else getattr(figure, name)
    return MISSING if value is None else f"{value:.2f}"

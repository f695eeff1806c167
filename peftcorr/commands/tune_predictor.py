"""``peftcorr tune-predictor``: radius and temperature of the window chosen on val, and kept for later runs."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.console import Console

from peftcorr.commands import options
from peftcorr.console.table import print_table, print_whole
from peftcorr.errors import PeftCorrError, shown
from peftcorr.machine.startup import importing

if TYPE_CHECKING:
    from peftcorr.backbones import Backbone
    from peftcorr.engine.plan import Model
    from peftcorr.engine.tuning import Tuning
    from peftcorr.engine.workbench import Workbench
    from peftcorr.recipe import Recipe

# What deciding the window looks at by default: a window moves a point by a part of a cell, which the strictest
# threshold sees best.
ALPHA = 0.05

SUMMARY = "Choose the window's radius and temperature on val."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument("--strategy", metavar="NAME", help="one that trains nothing (default: frozen)")
    parser.add_argument("--backbone", metavar="NAME", help="whose window is chosen")
    parser.add_argument("--dataset", metavar="NAME", help="whose val split decides")
    options.add_recipe(parser)
    options.add_image_size(parser)
    parser.add_argument(
        "--run", dest="run_id", metavar="RUN",
        help="id of a finished run, or the beginning of one: its recipe and adapter are taken",
    )  # fmt: skip
    options.add_data_root(parser)
    options.add_weights(parser)
    options.add_output(parser, "folder of the runs, where the choice is kept")
    parser.add_argument(
        "--radius", type=int, nargs="+", metavar="R", help="cells on each side of the peak that are tried"
    )
    parser.add_argument(
        "--temperature", type=float, nargs="+", metavar="T",
        help="what the similarities are multiplied by before the softmax, as tried",
    )  # fmt: skip
    parser.add_argument(
        "--alpha",
        type=float,
        choices=options.ALPHAS,
        default=ALPHA,
        help=f"threshold that decides (default: {ALPHA})",
    )


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand.

    Raises:
        PeftCorrError: if the recipe, the run, the dataset or the grid is wrong.
    """
    with importing():
        from accelerate import Accelerator

        from peftcorr.console.progress import Progress
        from peftcorr.engine.scoring import scorer
        from peftcorr.engine.tuning import RADII, TEMPERATURES, grid, tune
        from peftcorr.engine.workbench import Workbench
        from peftcorr.machine.launch import on_cpu, use_all_cores
        from peftcorr.results.choice import ChosenWindow, PredictorChoice, write_choice

    settings = grid(parsed.radius or RADII, parsed.temperature or TEMPERATURES)
    use_all_cores()
    console = Console()
    bench = Workbench(
        options.data_roots(parsed.data_root),
        parsed.weights,
        parsed.output,
        options.cache_folder(),
        Progress(console),
    )
    recipe, model, backbone, run_id = _model(parsed, bench)
    evaluator = scorer(recipe, backbone, bench, Accelerator(cpu=on_cpu()))
    found = tune(bench.source(recipe.dataset), evaluator, bench, settings, options.ALPHAS)
    best = found.best(parsed.alpha)
    weights = model.weights
    assert weights is not None
    path = write_choice(
        PredictorChoice(
            predictor=ChosenWindow(**best.model_dump()),
            backbone=recipe.backbone,
            weights_id=weights.id,
            weights_sha256=weights.sha256,
            strategy=recipe.strategy["name"],
            run_id=run_id,
            dataset=found.dataset,
            hold_out=recipe.dataset.get("hold_out"),
            n_pairs=found.n_pairs,
            n_keypoints=found.n_keypoints,
            alpha=parsed.alpha,
            pck=found.by_label(),
        ),
        bench.store,
    )
    print_tuning(found, parsed.alpha, console)
    print_whole(
        console,
        f"Chosen by PCK@{parsed.alpha:g} on {found.dataset}/val: window_softargmax with radius {best.radius} and "
        f"temperature {best.temperature:g}, kept in {path}; --predictor tuned uses it.",
    )
    return 0


def _model(parsed: argparse.Namespace, bench: Workbench) -> tuple[Recipe, Model, Backbone, str | None]:
    """The recipe, its model, the backbone as a finished run adapted it, or as it comes, and that run's id."""
    from peftcorr.engine.plan import Model
    from peftcorr.model.finished import load_finished
    from peftcorr.recipe import resolve
    from peftcorr.results.runs import finished_run

    if parsed.run_id is not None:
        for name in ("strategy", "backbone", "dataset", "recipe", "image_size", "set"):
            if getattr(parsed, name):
                raise PeftCorrError(
                    f"--run takes the run's own recipe: leave out --{name.replace('_', '-')}, or leave out --run."
                )
        finished = load_finished(finished_run(parsed.run_id, bench.store), bench.store, bench.weights)
        return _own_convention(finished.recipe), finished.model, finished.backbone, finished.record.run_id
    recipe = _own_convention(resolve(_command_line(parsed), parsed.set, parsed.recipe))
    model = Model.of(recipe, bench.weights_of)
    if model.strategy().trains():
        raise PeftCorrError(
            f"The strategy {shown(recipe.strategy['name'])} trains, so it needs an adapter: name a finished run with "
            "--run, or tune the backbone as it comes with --strategy frozen."
        )
    return recipe, model, model.build()[0], None


def _own_convention(recipe: Recipe) -> Recipe:
    """The recipe, unless its convention has a predictor of its own."""
    if recipe.convention != "peftcorr":
        raise PeftCorrError(
            f"The convention {recipe.convention} comes with its predictor's constants: leave it out to tune one."
        )
    return recipe


def _command_line(parsed: argparse.Namespace) -> dict[str, Any]:
    """Flags as recipe keys; without a recipe, the backbone is tuned as it comes."""
    strategy = parsed.strategy or (None if parsed.recipe else "frozen")
    names = {"strategy": strategy, "backbone": parsed.backbone, "dataset": parsed.dataset}
    values: dict[str, Any] = {key: {"name": name} for key, name in names.items() if name}
    if parsed.image_size is not None:
        values.setdefault("backbone", {})["image_size"] = parsed.image_size
    return values


def print_tuning(found: Tuning, alpha: float, console: Console) -> None:
    """The other predictors, and of each radius the temperature that is best at a threshold."""
    from peftcorr.metrics.aggregate import alpha_key

    def row(name: str, pck: dict[str, float], mark: str = "") -> list[str]:
        return [name, *(f"{pck[alpha_key(a)]:.2f}" for a in options.ALPHAS), mark]

    rows: list[list[str] | None] = [row(name, pck) for name, pck in found.others.items()]
    rows.append(None)
    for radius in sorted({setting.radius for setting in found.windows}):
        of_radius = {setting: pck for setting, pck in found.windows.items() if setting.radius == radius}
        best = replace(found, windows=of_radius).best(alpha)
        name = f"window, radius {radius}, temperature {best.temperature:g}"
        rows.append(row(name, found.windows[best], "chosen" if best == found.best(alpha) else ""))
    print_table(
        console,
        ["predictor", *(f"PCK@{a:g}" for a in options.ALPHAS), ""],
        rows,
        text=(0, len(options.ALPHAS) + 1),
        title=f"{found.dataset}/val, {found.n_pairs:,} pairs, {found.n_keypoints:,} keypoints",
    )

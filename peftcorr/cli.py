"""The command line: ``peftcorr run`` and what there is beside it (``peftcorr --help``)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from peftcorr.commands.breakdown import add_options as add_breakdown_options
from peftcorr.commands.cache import add_options as add_cache_options
from peftcorr.commands.compare import add_options as add_compare_options
from peftcorr.commands.data import add_options as add_data_options
from peftcorr.commands.tune_predictor import add_options as add_tune_options
from peftcorr.console.numbers import parse_bytes
from peftcorr.errors import PeftCorrError
from peftcorr.machine.startup import importing


def console() -> None:
    """Entry point of the ``peftcorr`` script."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command.

    Returns:
        Exit code: 0, 1 if a cell of a sweep failed, 2 if the user has something to mend.
    """
    # Nothing here reads a metric or dataset script from the hub; progress of the libraries would garble ours.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    parsed = _parser().parse_args(arguments)
    try:
        for plugin in parsed.plugin:
            from peftcorr.registry import load_plugin_file

            load_plugin_file(plugin)
        code: int = parsed.command(parsed, list(arguments))
    except PeftCorrError as error:
        Console(stderr=True).print(
            f"peftcorr: {error}", style="red", highlight=False, markup=False, soft_wrap=True
        )
        return 2
    except KeyboardInterrupt:
        print("peftcorr: stopped; the same command goes on from the last saved state.", file=sys.stderr)
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="peftcorr", description="Parameter-efficient fine-tuning on semantic correspondence."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function: Any, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "--plugin", type=Path, action="append", default=[], metavar="FILE.py", help="load more names"
        )
        command.set_defaults(command=function)
        return command

    run = add("run", _run, "Train, score and record every cell of a sweep, and rewrite the leaderboard.")
    _add_cell_options(run)
    run.add_argument("--output", type=Path, default=Path("leaderboard"), metavar="DIR")
    run.add_argument(
        "--overwrite", choices=("missing", "failed", "always", "never"), default="missing",
        help="cells to run: those not done (missing), failed ones too, all, or only those without any record (never)",
    )  # fmt: skip
    run.add_argument(
        "--memory", type=parse_bytes, default="2GiB", metavar="SIZE",
        help="features held in memory while scoring, for example 512MiB; the rest waits on disk (default 2GiB)",
    )  # fmt: skip
    run.add_argument(
        "--feature-cache", action="store_true",
        help="keep the features of frozen backbones on disk for later runs",
    )  # fmt: skip
    run.add_argument(
        "--dry-run", action="store_true", help="print the cells with their cost, and run nothing"
    )

    add("ls", _ls, "List every strategy, backbone, dataset and predictor, with its origin.")
    params = add("params", _params, "Count parameters per strategy and backbone, without weights.")
    params.add_argument("--strategy", nargs="+", default=[], metavar="NAME")
    params.add_argument("--backbone", nargs="+", default=[], metavar="NAME")
    compile_ = add("compile", _compile, "Rewrite the leaderboard from the records.")
    compile_.add_argument("output", type=Path, nargs="?", default=Path("leaderboard"), metavar="DIR")
    validate = add("validate", _validate, "Check a recipe and print it with every default written out.")
    validate.add_argument("recipe", type=Path, metavar="RECIPE")
    export = add("export", _export, "Write a trained model for its own library, the adapter merged into it.")
    export.add_argument("run_id", metavar="RUN")
    export.add_argument("folder", type=Path, metavar="FOLDER", help="a new or empty folder")
    export.add_argument("--output", type=Path, default=Path("leaderboard"), metavar="DIR")
    export.add_argument("--weights", type=Path, metavar="PATH", help="what the run was trained from")
    add_cache_options(add("cache", _cache, "List or delete what the cache folder holds."))
    add_data_options(add("data", _data, "Prepare a published dataset, or check a dataset's folder."))
    add_tune_options(add("tune-predictor", _tune, "Choose the window's radius and temperature on val."))
    score = add("score", _score, "Score saved predictions by any preset and threshold, without the model.")
    score.add_argument("predictions", type=Path, metavar="PREDICTIONS.parquet")
    score.add_argument(
        "--preset", nargs="+", default=["peftcorr"], metavar="NAME", help="definitions of correct"
    )
    score.add_argument("--alphas", type=float, nargs="+", default=[0.05, 0.1, 0.2], metavar="A")
    score.add_argument(
        "--json", type=Path, metavar="FILE", help="write all scores there too, by category as well"
    )
    add_compare_options(add("compare", _compare, "Compare two runs: difference, interval and p-value."))
    add_breakdown_options(
        add("breakdown", _breakdown, "Break one run's scores down by what makes pairs hard.")
    )
    return parser


def _add_cell_options(run: argparse.ArgumentParser) -> None:
    many: dict[str, Any] = {"nargs": "+", "default": []}
    run.add_argument("--strategy", metavar="NAME", **many)
    run.add_argument("--backbone", metavar="NAME", **many)
    run.add_argument("--dataset", metavar="NAME", **many)
    run.add_argument("--eval-on", metavar="NAME", **many, help="more datasets to score the trained model on")
    run.add_argument("--data-root", metavar="[NAME=]PATH", **many, help="folder of a dataset")
    run.add_argument(
        "--weights",
        type=Path,
        metavar="PATH",
        help="folder with config.json and model.safetensors, or a checkpoint of the segment-anything package (.pth)",
    )
    run.add_argument("--image-size", type=int, metavar="N", help="side of the square input, in pixels")
    run.add_argument("--predictor", metavar="NAME", **many)
    run.add_argument("--alphas", type=float, metavar="A", **many)
    run.add_argument("--seed", type=int, metavar="N", **many)
    run.add_argument("--steps", type=int, metavar="N")
    run.add_argument("--recipe", type=Path, metavar="FILE")
    run.add_argument("--set", metavar="key=value", action="extend", **many, help="any key of the recipe")
    run.add_argument("--limit-pairs", type=int, metavar="N", help="score this many evenly spaced pairs")


def _run(parsed: argparse.Namespace, arguments: list[str]) -> int:
    if parsed.dry_run or parsed.recipe or parsed.set or set(parsed.dataset) - {"synthetic"}:
        return _sweep(parsed, arguments)

    from peftcorr.data.synthetic import SyntheticConfig
    from peftcorr.data.synthetic.rendered import rendering_ahead

    with rendering_ahead(cache_folder(), SyntheticConfig()):  # takes about as long as the imports
        return _sweep(parsed, arguments)


def _sweep(parsed: argparse.Namespace, arguments: list[str]) -> int:
    with importing():
        from peftcorr.machine.launch import on_cpu, respawn, use_all_cores

        code = respawn(arguments)
        if code is not None:
            return code
        use_all_cores()

        from accelerate import PartialState
        from transformers.utils import logging

        from peftcorr.console.progress import Progress
        from peftcorr.engine.workbench import Workbench
        from peftcorr.report.compile import compile_leaderboard
        from peftcorr.report.summary import print_summary
        from peftcorr.sweep import cells, sweep

    logging.disable_progress_bar()
    state = PartialState(cpu=on_cpu())
    terminal = Console() if state.is_main_process else None
    progress = Progress(terminal)
    bench = Workbench(
        data_roots(parsed.data_root),
        parsed.weights,
        parsed.output,
        cache_folder(),
        progress,
        parsed.memory,
        parsed.feature_cache,
    )
    axes, fixed = _command_line(parsed)
    plans = cells(axes, fixed, parsed.set, parsed.recipe, bench)
    if parsed.dry_run:
        from peftcorr.commands.listing import print_plan

        print_plan(plans, terminal)
        return 0
    outcomes = sweep(plans, bench, parsed.overwrite)
    if state.is_main_process:
        compile_leaderboard(parsed.output)
        if not any(outcome.status == "ran" for outcome in outcomes):
            progress.say("Nothing was run.")
        print_summary(parsed.output, Console(), [plan.run_id for plan in plans])
    state.wait_for_everyone()
    state.destroy_process_group()
    return 1 if any(outcome.error is not None for outcome in outcomes) else 0


def _command_line(parsed: argparse.Namespace) -> tuple[dict[str, Sequence[object]], dict[str, Any]]:
    """Flags as recipe keys: lists that form the product, and single values."""
    size = {} if parsed.image_size is None else {"image_size": parsed.image_size}
    axes: dict[str, Sequence[object]] = {
        "strategy": [{"name": name} for name in parsed.strategy],
        "backbone": [{"name": name, **size} for name in parsed.backbone] or ([size] if size else []),
        "dataset": [{"name": name} for name in parsed.dataset],
        "seed": parsed.seed,
    }
    fixed: dict[str, Any] = {}
    if parsed.eval_on:
        fixed["eval_on"] = parsed.eval_on
    if parsed.predictor:
        fixed["predictors"] = parsed.predictor
    if parsed.alphas:
        fixed["alphas"] = parsed.alphas
    if parsed.steps is not None:
        fixed["training"] = {"steps": parsed.steps}
    if parsed.limit_pairs is not None:
        fixed["limit_pairs"] = parsed.limit_pairs
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision != "no":
        fixed["precision"] = precision
    return axes, fixed


def data_roots(given: Sequence[str]) -> dict[str, Path]:
    """``--data-root`` as folders by dataset name; ``""`` is the folder of every other."""
    roots = {}
    for text in given:
        name, equals, path = text.partition("=")
        roots[name if equals else ""] = Path(path if equals else text).expanduser()
    return roots


def cache_folder() -> Path:
    """Where annotation tables and renderings are kept: $PEFTCORR_CACHE, or the user's cache folder."""
    own = os.environ.get("PEFTCORR_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else (Path(base) if base else Path.home() / ".cache") / "peftcorr"


def _ls(parsed: argparse.Namespace, arguments: list[str]) -> int:
    from peftcorr.commands.listing import print_names

    print_names(Console())
    return 0


def _params(parsed: argparse.Namespace, arguments: list[str]) -> int:
    with importing():
        from peftcorr.commands.listing import print_parameters

    print_parameters(parsed.backbone, parsed.strategy, Console())
    return 0


def _compile(parsed: argparse.Namespace, arguments: list[str]) -> int:
    from peftcorr.report.compile import compile_leaderboard

    print(compile_leaderboard(parsed.output))
    return 0


def _validate(parsed: argparse.Namespace, arguments: list[str]) -> int:
    import yaml

    from peftcorr.recipe import resolve

    recipe = resolve({}, [], parsed.recipe)
    print(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), end="")
    return 0


def _export(parsed: argparse.Namespace, arguments: list[str]) -> int:
    from peftcorr.model.export import export

    print(export(parsed.run_id, parsed.folder, parsed.output, parsed.weights))
    return 0


def _cache(parsed: argparse.Namespace, arguments: list[str]) -> int:
    from peftcorr.commands.cache import run

    return run(parsed, cache_folder())


def _data(parsed: argparse.Namespace, arguments: list[str]) -> int:
    from peftcorr.commands.data import run

    return run(parsed, cache_folder())


def _tune(parsed: argparse.Namespace, arguments: list[str]) -> int:
    from peftcorr.commands.tune_predictor import run

    return run(parsed, data_roots(parsed.data_root), cache_folder())


def _score(parsed: argparse.Namespace, arguments: list[str]) -> int:
    from peftcorr.commands.score import run

    return run(parsed.predictions, parsed.preset, parsed.alphas, parsed.json)


def _compare(parsed: argparse.Namespace, arguments: list[str]) -> int:
    from peftcorr.commands.compare import run

    return run(parsed)


def _breakdown(parsed: argparse.Namespace, arguments: list[str]) -> int:
    from peftcorr.commands.breakdown import run

    return run(parsed)


if __name__ == "__main__":
    console()

"""``peftcorr run``: every cell of a sweep trained, scored and recorded."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from peftcorr.commands import options
from peftcorr.console.numbers import memory, parse_bytes
from peftcorr.errors import PeftCorrError
from peftcorr.machine.folders import places_of
from peftcorr.machine.launchers import end_with_launchers, respawn
from peftcorr.machine.startup import importing, uncollected
from peftcorr.machine.termination import Terminated
from peftcorr.machine.trackers import TRACKERS, require_installed

if TYPE_CHECKING:
    from peftcorr.engine.plan import Plan
    from peftcorr.results.store import Store
    from peftcorr.sweep.launchers.base import Launcher


def _count(text: str) -> int:
    """A number of workers or processes."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"it must be at least 1, not {count}")
    return count


def _workers(text: str) -> int | str:
    return text if text == "auto" else _count(text)


SUMMARY = "Train, score and record every cell of a sweep, and rewrite the leaderboard."

EXAMPLES = """examples:
  LoRA on the embedded backbone and benchmark:
    peftcorr run
  six cells; what is done is not done again:
    peftcorr run --strategy frozen lora --seed 0 1 2
  any option (peftcorr ls lora lists them):
    peftcorr run --strategy lora --set strategy.rank=4
  a published backbone on a published dataset:
    peftcorr run --backbone dinov2_vits14 --dataset spair71k --data-root PATH
  what the cells of a recipe would cost:
    peftcorr run --recipe FILE --dry-run
  on several processes or GPUs:
    accelerate launch -m peftcorr.cli run --strategy lora
  the cells of an option's values, two at a time, each in a process of its own:
    peftcorr run --strategy last_k --vary strategy.k=1,2,3 --workers 2
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.epilog = EXAMPLES
    parser.set_defaults(announced=True)
    parser.add_argument("--strategy", metavar="NAME", **options.MANY, help="how the backbone is adapted")
    parser.add_argument("--backbone", metavar="NAME", **options.MANY, help="what is adapted")
    parser.add_argument("--dataset", metavar="NAME", **options.MANY, help="what is trained on and scored")
    parser.add_argument(
        "--eval-on", metavar="NAME", **options.MANY, help="more datasets to score the trained model on"
    )
    options.add_data_root(parser)
    options.add_weights(parser)
    options.add_image_size(parser)
    parser.add_argument(
        "--predictor", metavar="NAME", **options.MANY, help="how points are read off similarities"
    )
    parser.add_argument(
        "--alphas",
        type=float,
        metavar="A",
        **options.MANY,
        help="thresholds of PCK, as shares of the object's size",
    )
    parser.add_argument("--seed", type=int, metavar="N", **options.MANY, help="seed of everything random")
    parser.add_argument(
        "--init-from", metavar="RUN",
        help="finished run of the same strategy and backbone, in --output, whose adapter training starts from",
    )  # fmt: skip
    parser.add_argument("--steps", type=int, metavar="N", help="how many steps are trained")
    options.add_recipe(parser)
    parser.add_argument(
        "--vary", metavar="KEY=V1,V2", **options.MANY,
        help="options with several values, every combination a cell, for example strategy.k=1,2,3; a strategy without "
        "that option has one cell",
    )  # fmt: skip
    parser.add_argument("--limit-pairs", type=int, metavar="N", help="score this many evenly spaced pairs")
    options.add_output(parser, "where records, predictions, adapters and the leaderboard go")
    parser.add_argument(
        "--overwrite", choices=("missing", "failed", "always", "never"), default="missing",
        help="cells to run: those not done (missing), failed ones too, all, or only those without any record (never)",
    )  # fmt: skip
    parser.add_argument(
        "--memory", type=parse_bytes, default=2 << 30, metavar="SIZE",
        help="features held in memory while scoring, for example 512MiB; the rest waits on disk (default: 2GiB)",
    )  # fmt: skip
    parser.add_argument(
        "--cache-limit", type=parse_bytes, metavar="SIZE",
        help="what features, and the output of frozen blocks that cells share, may take in the cache; what was used "
        "least of late makes room (default: what the disk has)",
    )  # fmt: skip
    parser.add_argument(
        "--feature-cache", action="store_true",
        help="keep the features of frozen backbones on disk for later runs",
    )  # fmt: skip
    parser.add_argument(
        "--track", choices=TRACKERS, **options.MANY,
        help="what is told of loss, learning rate, validation and memory as a training goes on",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=_workers, metavar="N",
        help="cells at a time, each in a process of its own; auto: one a GPU, on clusters all (default: one by one)",
    )  # fmt: skip
    parser.add_argument(
        "--processes-per-cell", type=_count, default=1, metavar="N",
        help="processes, or GPUs, that a worker trains one cell on (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--launcher", metavar="NAME",
        help="what starts the workers (default: local; peftcorr ls lists them)",
    )  # fmt: skip
    parser.add_argument(
        "--launcher-set", metavar="key=value", action="extend", **options.MANY,
        help="options of the launcher, for example partition=gpu time=60",
    )  # fmt: skip
    parser.add_argument(
        "--job", type=Path, metavar="FILE", help="do what a sweep wrote for a worker; not for people"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the cells with their cost, and run nothing"
    )


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand.

    Returns:
        0, or 1 if a cell failed.

    Raises:
        PeftCorrError: if any cell is wrong or a folder cannot take what is written, before the first one starts.
        KeyboardInterrupt, Terminated: saying what a later start of the same command finds saved.
    """
    respawn(parsed.arguments)
    end_with_launchers()
    if parsed.job:
        return _work(parsed.job)
    require_installed(parsed.track)
    output, cache, temporary = places_of(parsed.output)
    # A cache that holds something may hold all that is asked for, and is only read then. What is missing in one that
    # cannot be written to is said before it is rendered or encoded.
    for place in (output, temporary, *(() if cache.holds_something() else (cache,))):
        place.require_writable()
    if parsed.dry_run or parsed.recipe or parsed.set or set(parsed.dataset) - {"synthetic"}:
        return _sweep(parsed)

    from peftcorr.data.synthetic import SyntheticConfig
    from peftcorr.data.synthetic.rendered import rendering_ahead

    with rendering_ahead(options.cache_folder(), SyntheticConfig()):  # takes about as long as the imports
        return _sweep(parsed)


def _sweep(parsed: argparse.Namespace) -> int:
    with importing():
        from peftcorr.machine.launch import on_cpu, use_all_cores

        use_all_cores()

        from accelerate import PartialState

        from peftcorr.console.progress import Progress
        from peftcorr.engine.workbench import Workbench
        from peftcorr.report.compile import compile_leaderboard
        from peftcorr.report.summary import print_summary
        from peftcorr.sweep.cells import Asked, cells, parse_vary
        from peftcorr.sweep.here import make_ready, shared_space, sweep

    state = PartialState(cpu=on_cpu())
    terminal = Console() if state.is_main_process else None
    progress = Progress(terminal)
    roots, cache = options.data_roots(parsed.data_root), options.cache_folder()
    bench = Workbench(
        roots, parsed.weights, parsed.output, cache, progress, parsed.memory, parsed.feature_cache,
        download=not parsed.dry_run, cache_limit=parsed.cache_limit,
        track=tuple(dict.fromkeys(parsed.track)),
    )  # fmt: skip
    axes, fixed = _command_line(parsed)
    asked = Asked(axes, fixed, parsed.set, parsed.recipe, parse_vary(parsed.vary))
    with uncollected():  # strategies bring libraries of their own
        found = cells(asked, bench)
    plans = [plan for _, plan in found]
    if parsed.dry_run:
        from peftcorr.commands.plan import print_plan

        print_plan(plans, terminal)
        if shared := shared_space(plans, bench):
            progress.say(
                "What frozen blocks give is computed once for all cells, and takes up to "
                f"{memory(shared)} below {cache}."
            )
        return 0
    try:
        launcher = _launcher(parsed, len(plans), state.num_processes)
        at_once = launcher.share.workers if launcher is not None and launcher.sees_output else 1
        here = at_once if launcher is not None and launcher.here else 1
        make_ready(plans, bench, parsed.overwrite, places_of(parsed.output), at_once, here)
        if launcher is None:
            outcomes = sweep(plans, bench, parsed.overwrite)
        else:
            from peftcorr.sweep.dispatch import dispatch
            from peftcorr.sweep.job import jobs

            outcomes = dispatch(
                plans, jobs(found, bench, parsed.plugin, parsed.overwrite), launcher, bench, parsed.overwrite
            )
    except (KeyboardInterrupt, Terminated) as stop:
        raise type(stop)(_kept(plans, bench.store)) from None
    failed = any(outcome.error is not None for outcome in outcomes)
    if state.is_main_process:
        if not any(outcome.status == "ran" for outcome in outcomes):
            progress.say("Nothing was run.")
        try:
            compile_leaderboard(parsed.output)
            print_summary(parsed.output, Console(), [plan.run_id for plan in plans])
        except PeftCorrError:
            if not failed:  # else what a cell met, a full disk perhaps, has been said
                raise
    state.wait_for_everyone()
    state.destroy_process_group()
    return int(failed)


def _launcher(parsed: argparse.Namespace, cells: int, processes: int) -> Launcher | None:
    """What starts the workers that were asked for; None where the cells are run here, one after the other.

    Raises:
        PeftCorrError: if the launcher or an option of it is not known, or this is one of several processes already.
    """
    from peftcorr.config import complete
    from peftcorr.config import options as section_options
    from peftcorr.recipe import parse_set
    from peftcorr.sweep.launchers import LAUNCHERS
    from peftcorr.sweep.launchers.base import Share

    asked = parsed.launcher or parsed.launcher_set or parsed.workers or parsed.processes_per_cell > 1
    each = parsed.processes_per_cell
    section = complete(LAUNCHERS, {"name": parsed.launcher or "local", **parse_set(parsed.launcher_set)})
    cls = LAUNCHERS.get(section["name"])
    workers = parsed.workers
    if workers in (None, "auto"):
        workers = cls.at_a_time(each) or cells
    if processes > 1 or not (asked or (cells > 1 and workers > 1)):
        if asked:
            raise PeftCorrError(
                "--workers starts processes of its own: leave accelerate launch away, or leave --workers away."
            )
        return None
    return cls(cls.Config(**section_options(section)), Share(min(workers, cells), each))


def _work(path: Path) -> int:
    """Carry out the job that a sweep left in a file for this process."""
    with importing():
        from peftcorr.machine.launch import on_cpu, use_all_cores

        use_all_cores()

        from accelerate import PartialState

        from peftcorr.console.progress import Progress
        from peftcorr.registry import load_plugin_file
        from peftcorr.results.store import Store
        from peftcorr.sweep.job import carry_out, read_job

    state = PartialState(cpu=on_cpu())
    job = read_job(path)
    for plugin in job.plugins:
        load_plugin_file(plugin)
    try:
        code = carry_out(job, Progress(Console() if state.is_main_process else None))
    except (KeyboardInterrupt, Terminated) as stop:
        kept = Store(job.output).can_resume(job.run_id)
        raise type(stop)("its training goes on from the last saved state" if kept else "") from None
    state.wait_for_everyone()
    state.destroy_process_group()
    return code


def _kept(plans: Sequence[Plan], store: Store) -> str:
    """What of some cells an interrupted sweep leaves, in a few words; nothing where that is nothing."""
    ids = [plan.run_id for plan in plans]
    done = sum(store.is_whole(run_id) for run_id in ids)
    if not done and not any(store.can_resume(run_id) for run_id in ids):
        return ""
    cells = f" ({done} of {len(ids)} cells are done)" if len(ids) > 1 else ""
    return f"the same command goes on from the last saved state{cells}"


def _command_line(parsed: argparse.Namespace) -> tuple[dict[str, Sequence[object]], dict[str, Any]]:
    """Flags as recipe keys: lists that form the product, and single values."""
    size = {} if parsed.image_size is None else {"image_size": parsed.image_size}
    axes: dict[str, Sequence[object]] = {
        "strategy": [{"name": name} for name in parsed.strategy],
        "backbone": [{"name": name, **size} for name in parsed.backbone] or ([size] if size else []),
        "dataset": [{"name": name} for name in parsed.dataset],
        "seed": parsed.seed,
    }
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    fixed = {
        "eval_on": parsed.eval_on,
        "predictors": parsed.predictor,
        "alphas": parsed.alphas,
        "training": None if parsed.steps is None else {"steps": parsed.steps},
        "limit_pairs": parsed.limit_pairs,
        "init_from": parsed.init_from,
        "precision": None if precision == "no" else precision,
    }
    return axes, {key: value for key, value in fixed.items() if value not in (None, [])}

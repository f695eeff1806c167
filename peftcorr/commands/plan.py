"""What ``peftcorr run --dry-run`` prints: the cells of a sweep with their parameters and cost."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from peftcorr.console.numbers import MISSING
from peftcorr.console.table import print_line, print_table, print_whole
from peftcorr.engine.cost import estimate, machine_speed, trained_images
from peftcorr.engine.memory import estimate_memory, resident
from peftcorr.engine.plan import Plan
from peftcorr.errors import PeftCorrError

_HEADER = (
    "run", "cell", "trainable", "total", "train images", "train TFLOP", "GFLOP per image scored", "train minutes here",
    "peak GB here",
)  # fmt: skip


def print_plan(plans: Sequence[Plan], terminal: Console | None) -> None:
    """Print each cell with its cost, and which of them are impossible; nothing where there is no terminal."""
    speed, libraries = machine_speed(), resident()
    # Every command takes the beginning of an id: a terminal is too narrow for the whole.
    ids = slice(8) if terminal is not None and terminal.is_terminal else slice(None)
    rows: list[Sequence[str]] = []
    impossible = []
    for plan in plans:
        try:
            cost, memory = estimate(plan.model), estimate_memory(plan.model, plan.recipe)
        except PeftCorrError as error:
            impossible.append(f"{plan.title}: {error}")
            rows.append((plan.run_id[ids] or MISSING, plan.title, "impossible"))
            continue
        images = trained_images(plan.recipe.training)
        work = cost.train_flops * images
        counts = (f"{count:,}" for count in (cost.trainable, cost.total, images))
        peak = libraries + memory.peak
        amounts = (work / 1e12, cost.forward_flops / 1e9, work / speed / 60, peak / 1e9)
        rows.append(
            (plan.run_id[ids] or MISSING, plan.title, *counts, *(f"{amount:,.1f}" for amount in amounts))
        )
    if terminal is None:
        return
    print_table(terminal, _HEADER, rows, text=(0, 1), whole=(0,))
    for reason in impossible:
        print_whole(terminal, reason)
    print_line(terminal, f"Minutes at the {speed / 1e9:,.0f} GFLOP/s that a matrix product reached just now.")

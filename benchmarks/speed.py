"""How fast peftcorr is, against a loop over pairs and against the encoder alone: ``python benchmarks/speed.py``.

Prints a table and writes it, with the machine, to ``leaderboard/speed.md`` and ``leaderboard/speed.json``. Real data
and weights are read from $PEFTCORR_SHARED, by default ``../shared``; workloads whose data are not there are left out.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from rich.console import Console
from timing import evaluation, page, spair_sized, sweeps, training, variants
from timing.settings import PROJECT, Settings
from transformers.utils import logging

from peftcorr.machine.launch import use_all_cores

WORKLOADS = (
    *(case.name for case in evaluation.CASES),
    "spair-sized",
    *(case.name for case in training.CASES),
    variants.NAME,
    *sweeps.WORKLOADS,
)
_WIDTH = 170  # columns that the widest table needs


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=WORKLOADS, metavar="NAME")
    parser.add_argument("--output", type=Path, default=PROJECT / "leaderboard" / "speed.md", metavar="FILE")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N")
    parser.add_argument(
        "--naive-pairs", type=int, default=60, metavar="N", help="pairs that the naive loop is timed on"
    )
    parser.add_argument("--quick", action="store_true", help="a few pairs, to see that it works")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    logging.disable_progress_bar()
    if parsed.child:
        spair_sized.child(parsed.child)
        return
    use_all_cores()
    console = Console(width=max(Console().width, _WIDTH))
    machine, found = page.machine(), page.Findings()
    with tempfile.TemporaryDirectory(prefix="peftcorr-speed-") as work:
        settings = (
            Settings(1, 4, True, Path(work))
            if parsed.quick
            else Settings(parsed.repetitions, parsed.naive_pairs, False, Path(work))
        )
        _measure(parsed.only, settings, found, console)
    page.show(found, console)
    page.write(parsed.output, found, machine, settings)
    print(f"Written to {parsed.output.name} and {parsed.output.with_suffix('.json').name}.")


def _measure(only: list[str], settings: Settings, found: page.Findings, console: Console) -> None:
    for case in evaluation.CASES:
        if case.name in only:
            console.print(f"{case.name} ...")
            result = evaluation.measure(case, settings)
            if result is None:
                found.left_out.append(case.name)
            else:
                found.evaluation[case.name] = result.record()
    if "spair-sized" in only:
        console.print("spair-sized ...")
        compared, found.spair = spair_sized.measure(settings)
        found.evaluation[compared.name] = compared.record()
    for train in training.CASES:
        if train.name in only:
            console.print(f"{train.name} ...")
            trained = training.measure(train, settings)
            if trained is None:
                found.left_out.append(train.name)
            else:
                found.training[train.name] = trained.record()
    if variants.NAME in only:
        console.print(f"{variants.NAME} ...")
        ways = variants.measure(settings)
        if ways is None:
            found.left_out.append(variants.NAME)
        else:
            found.variants = ways
    for name, measured in sweeps.WORKLOADS.items():
        if name in only:
            console.print(f"{name} ...")
            rows = measured(settings)
            if rows:
                found.sweeps += rows
            else:
                found.left_out.append(name)


if __name__ == "__main__":
    main()

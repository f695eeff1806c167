"""Cliques of images against the loop over pairs, for the same time: ``python benchmarks/sampling.py``.

Both train on animal-pairs at 224 px at the same time, each on half of the cores, and are validated on the way. Writes
``leaderboard/sampling.json`` and ``leaderboard/figures/sampling.svg``. Data and weights are read from
$PEFTCORR_SHARED, by default ``../shared``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from findings import write_json
from matplotlib.figure import Figure
from timing import equal_time, page
from timing.settings import PROJECT, WEIGHTS, available
from transformers.utils import logging

from peftcorr.files import atomic_path
from peftcorr.report.rendering import svg

LOOPS = {"cliques": ("o-", "#0072B2"), "pairs": ("s--", "#D55E00")}


def main() -> int:
    """Train every strategy in both ways and draw the curves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=300, metavar="N", help="that each training may take")
    parser.add_argument("--only", nargs="+", choices=list(equal_time.CASES), default=list(equal_time.CASES))
    parser.add_argument("--output", type=Path, default=PROJECT / "leaderboard", metavar="DIR")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    logging.disable_progress_bar()
    if parsed.child:
        strategy, loop, work = parsed.child
        print(json.dumps(equal_time.train(strategy, loop, parsed.seconds, Path(work))))
        return 0
    if not available("data/animal-pairs", WEIGHTS):
        print(
            "Neither $PEFTCORR_SHARED nor ../shared has data/animal-pairs and the weights.", file=sys.stderr
        )
        return 2
    content: dict[str, Any] = {"schema_version": 1, "machine": page.machine(), "seconds": parsed.seconds}
    content["curves"] = {name: _together(name, parsed.seconds) for name in parsed.only}
    write_json(parsed.output / "sampling.json", content)
    with atomic_path(parsed.output / "figures" / "sampling.svg") as temporary:
        temporary.write_bytes(svg(lambda: _figure(content["curves"])))
    for name, loops in content["curves"].items():
        for loop, found in loops.items():
            end = found["validation"][-1]
            print(
                f"{name}, {loop}: {found['steps']} steps, {found['pairs']:,} pairs, "
                f"val PCK@0.1 {end['pck']:.2f} after {end['seconds']:.0f} s"
            )
    return 0


def _together(strategy: str, seconds: float) -> dict[str, Any]:
    """Both loops at once, each in a process of its own on its own cores."""
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="peftcorr-sampling-") as work:
        running = {}
        for number, loop in enumerate(LOOPS):
            own = cores[number :: len(LOOPS)] or cores
            command = [sys.executable, __file__, "--seconds", str(seconds), "--child", strategy, loop]
            running[loop] = subprocess.Popen(
                [*command, str(Path(work) / loop)],
                stdout=subprocess.PIPE,
                text=True,
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": str(len(own)),
                    "PEFTCORR_CORES": ",".join(map(str, own)),
                },
            )
        found = {loop: process.communicate()[0] for loop, process in running.items()}
    for loop, process in running.items():
        if process.returncode:
            raise SystemExit(f"The training of {strategy} on {loop} ended with {process.returncode}.")
    return {loop: json.loads(text.splitlines()[-1]) for loop, text in found.items()}


def _figure(curves: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for panel, (strategy, loops) in zip(panels, curves.items(), strict=True):
        for loop, found in loops.items():
            style, colour = LOOPS[loop]
            points = found["validation"]
            panel.plot(
                [point["seconds"] for point in points],
                [point["pck"] for point in points],
                style,
                color=colour,
                label=f"{loop}: {found['pairs']:,} pairs in {found['steps']:,} steps",
            )
        panel.set_title(strategy)
        panel.set_xlabel("seconds of training")
        panel.set_ylabel("val PCK@0.1 per keypoint, argmax")
        panel.legend()
    return figure


if __name__ == "__main__":
    sys.exit(main())

"""What the window's radius and temperature are worth: ``python benchmarks/window.py --run RUN --output DIR``.

Scores every setting of ``window_softargmax`` on animal-pairs val, for the backbone as it comes and for a LoRA run, in
one pass each; then argmax and the chosen setting on test. Writes ``leaderboard/window.json``, ``window.md`` and
``figures/window.svg``. Data and weights are read from $PEFTCORR_SHARED, by default ``../shared``; ``--quick`` takes the
embedded backbone and a few renderings instead, to see that it works.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import matplotlib
from findings import write_json
from matplotlib.figure import Figure
from rich.console import Console
from timing import page
from timing.settings import PROJECT, WEIGHTS, accelerator, available, shared
from transformers.utils import logging

from peftcorr.backbones import Backbone
from peftcorr.commands.options import ALPHAS
from peftcorr.commands.tune_predictor import ALPHA, print_tuning
from peftcorr.console.progress import Progress
from peftcorr.engine.plan import Model
from peftcorr.engine.scoring import scorer
from peftcorr.engine.tuning import RADII, TEMPERATURES, grid, scored, tune
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError
from peftcorr.files import atomic_path
from peftcorr.machine.launch import use_all_cores
from peftcorr.matching.predictors import Argmax, WindowSoftargmax
from peftcorr.model.finished import finished_run, load_finished
from peftcorr.recipe import Recipe, resolve
from peftcorr.report.pipes import table
from peftcorr.report.rendering import svg

RECIPE = PROJECT / "recipes" / "animal-pairs" / "frozen.yaml"
QUICK = (
    "dataset.categories=[car, chair]",
    "dataset.images={trn: 3, val: 4, test: 4}",
    "dataset.pairs={trn: 2, val: 4, test: 4}",
)

# Shape and shade tell radii apart on paper and without colour.
MARKERS = ("", "o", "s", "^", "D", "v", "P", "X", "*")


def main(arguments: Sequence[str]) -> int:
    """Measure, write the page, its data and the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", metavar="RUN", help="a finished LoRA run; without it the backbone alone")
    parser.add_argument(
        "--output", type=Path, default=PROJECT / "leaderboard", metavar="DIR", help="folder that has the run"
    )
    parser.add_argument(
        "--page", type=Path, default=PROJECT / "leaderboard", metavar="DIR", help="where the results go"
    )
    parser.add_argument("--quick", action="store_true", help="a few pairs, to see that it works")
    parsed = parser.parse_args(arguments)
    logging.disable_progress_bar()
    if not parsed.quick and not available("data/animal-pairs", WEIGHTS):
        print(
            "Neither $PEFTCORR_SHARED nor ../shared has data/animal-pairs and the weights.", file=sys.stderr
        )
        return 2
    use_all_cores()
    console = Console()
    content: dict[str, Any] = {"schema_version": 1, "machine": page.machine(), "quick": parsed.quick}
    with tempfile.TemporaryDirectory(prefix="peftcorr-window-") as work:
        roots = {} if parsed.quick else {"pairs": shared() / "data/animal-pairs"}
        weights = None if parsed.quick else shared() / WEIGHTS
        bench = Workbench(roots, weights, parsed.output, Path(work), Progress(console))
        content["alpha"] = ALPHA
        try:
            content["models"] = {
                recipe.strategy["name"]: _measure(recipe, backbone, run_id, bench, console)
                for recipe, backbone, run_id in _models(parsed, bench)
            }
        except PeftCorrError as error:
            print(f"window: {error}", file=sys.stderr)
            return 2
    write_json(parsed.page / "window.json", content)
    (parsed.page / "window.md").write_text(_markdown(content), encoding="utf-8")
    with atomic_path(parsed.page / "figures" / "window.svg") as temporary:
        temporary.write_bytes(svg(lambda: _figure(content["models"])))
    return 0


def _models(parsed: argparse.Namespace, bench: Workbench) -> list[tuple[Recipe, Backbone, str | None]]:
    """Recipe, backbone and run of each model."""
    recipe = (
        resolve({"strategy": {"name": "frozen"}}, list(QUICK), None)
        if parsed.quick
        else resolve({}, [], RECIPE)
    )
    models: list[tuple[Recipe, Backbone, str | None]] = [
        (recipe, Model.of(recipe, bench.weights_of).build()[0], None)
    ]
    if parsed.run is not None:
        finished = load_finished(finished_run(parsed.run, bench.store), bench.store, bench.weights)
        models.append((finished.recipe, finished.backbone, parsed.run))
    return models


def _measure(
    recipe: Recipe, backbone: Backbone, run_id: str | None, bench: Workbench, console: Console
) -> dict[str, Any]:
    """PCK per keypoint of every setting on val, and of argmax and the chosen one on test."""
    source, evaluator = bench.source(recipe.dataset), scorer(recipe, backbone, bench, accelerator())
    found = tune(source, evaluator, bench, grid(RADII, TEMPERATURES), ALPHAS)
    print_tuning(found, ALPHA, console)
    best = found.best(ALPHA)
    test = bench.split(source, "test", backbone.config)
    argmax, chosen = scored(test, evaluator, [Argmax(Argmax.Config()), WindowSoftargmax(best)], ALPHAS)
    return {
        "backbone": recipe.backbone,
        "weights_id": bench.weights_of(type(backbone), backbone.config).id,
        "strategy": recipe.strategy,
        "run_id": run_id,
        "dataset": found.dataset,
        "val": {
            "n_pairs": found.n_pairs,
            "n_keypoints": found.n_keypoints,
            "windows": [{**s.model_dump(), "pck": pck} for s, pck in found.windows.items()],
            "others": found.others,
        },
        "chosen": best.model_dump(),
        "test": {
            "n_pairs": len(test.dataset),
            "n_keypoints": test.data.n_visible,
            "argmax": argmax,
            "chosen": chosen,
        },
    }


def _markdown(content: dict[str, Any]) -> str:
    lines = [
        '<!-- Written by "python benchmarks/window.py": edits are lost. -->',
        "# The window of `window_softargmax`",
        "",
        "A softmax at temperature τ over the cells within r of the peak of a similarity map moves the prediction",
        "between cells; r = 0 is argmax. PCK is per keypoint, in percent. r and τ were chosen on val by",
        f"PCK@{content['alpha']:g}; test was read once, for the last table of each model.",
        "",
        "![PCK over temperature, a line a radius, for each model and threshold; the numbers are in "
        "window.json](figures/window.svg)",
    ]
    if content["quick"]:
        lines += ["", "**Made with --quick: a few renderings, which mean nothing.**"]
    header = ["predictor", *(f"PCK@{alpha:g}" for alpha in ALPHAS)]
    for name, model in content["models"].items():
        val, chosen = model["val"], model["chosen"]
        lines += ["", f"## {name}, {model['weights_id']}, {model['dataset']}", ""]
        lines += [
            f"On val ({val['n_pairs']:,} pairs, {val['n_keypoints']:,} keypoints), the best τ of each r:",
            "",
        ]
        rows = [[label, *_percentages(pck)] for label, pck in val["others"].items()]
        for radius in sorted({window["radius"] for window in val["windows"]} - {0}):
            best = max(
                (window for window in val["windows"] if window["radius"] == radius),
                key=lambda window: window["pck"][f"{content['alpha']:g}"],
            )
            mark = "**" if (radius, best["temperature"]) == (chosen["radius"], chosen["temperature"]) else ""
            rows.append(
                [f"{mark}r = {radius}, τ = {best['temperature']:g}{mark}", *_percentages(best["pck"])]
            )
        lines += [table(header, rows, left=(0,)), "", f"On test ({model['test']['n_pairs']:,} pairs):", ""]
        test = model["test"]
        gain = {key: test["chosen"][key] - test["argmax"][key] for key in test["argmax"]}
        setting = f"r = {chosen['radius']}, τ = {chosen['temperature']:g}"
        rows = [["argmax", *_percentages(test["argmax"])], [setting, *_percentages(test["chosen"])]]
        rows.append(["difference", *(f"{value:+.2f}" for value in gain.values())])
        lines.append(table(header, rows, left=(0,)))
        strictest = gain[f"{content['alpha']:g}"]
        verdict = "improves" if strictest > 0 else "does not improve"
        lines += [
            "",
            f"The setting chosen on val {verdict} test PCK@{content['alpha']:g}: {strictest:+.2f} points.",
        ]
    return "\n".join(lines) + "\n"


def _percentages(pck: dict[str, float]) -> list[str]:
    return [f"{pck[f'{alpha:g}']:.2f}" for alpha in ALPHAS]


def _figure(models: dict[str, Any]) -> Figure:
    """A row a model, a column a threshold: PCK over temperature, a line a radius."""
    figure = Figure(figsize=(9, 3.0 * len(models) + 0.7), layout="constrained")
    panels = figure.subplots(len(models), len(ALPHAS), squeeze=False, sharex=True)
    for line, (name, model) in zip(panels, models.items(), strict=True):
        for panel, alpha in zip(line, ALPHAS, strict=True):
            _panel(panel, model, f"{alpha:g}")
            panel.set_title(f"{name}, PCK@{alpha:g}", loc="left", fontsize=9.5)
        line[0].set_ylabel("val PCK per keypoint (%)")
    for panel in panels[-1]:
        panel.set_xlabel("temperature τ")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, columnspacing=1.2
    )
    return figure


def _panel(panel: Any, model: dict[str, Any], alpha: str) -> None:
    windows = model["val"]["windows"]
    radii = sorted({window["radius"] for window in windows} - {0})
    panel.axhline(model["val"]["others"]["argmax"][alpha], color="0.2", linestyle=(0, (5, 2)), label="argmax")
    for place, radius in enumerate(radii):
        points = [(w["temperature"], w["pck"][alpha]) for w in windows if w["radius"] == radius]
        panel.plot(
            *zip(*points, strict=True),
            color=matplotlib.colormaps["viridis"](0.9 * place / max(1, len(radii) - 1)),
            marker=MARKERS[1 + place % (len(MARKERS) - 1)],
            markersize=4,
            linewidth=1,
            label=f"r = {radius}",
        )
    chosen = model["chosen"]
    value = next(
        w["pck"][alpha]
        for w in windows
        if (w["radius"], w["temperature"]) == (chosen["radius"], chosen["temperature"])
    )
    panel.plot(
        [chosen["temperature"]],
        [value],
        "o",
        markersize=11,
        markerfacecolor="none",
        color="black",
        label="chosen",
    )
    panel.set_xscale("log")
    ticks = [5, 10, 20, 50, 100, 200]
    panel.set_xticks(ticks, [str(tick) for tick in ticks])
    panel.set_xticks([], minor=True)
    panel.grid(axis="y", color="0.9", linewidth=0.8)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

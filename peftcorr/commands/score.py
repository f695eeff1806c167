"""``peftcorr score PREDICTIONS.parquet``: every aggregate by any preset and threshold, without the model."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from peftcorr.commands.options import ALPHAS
from peftcorr.console.table import print_table
from peftcorr.errors import PeftCorrError
from peftcorr.machine.startup import importing

if TYPE_CHECKING:
    from peftcorr.metrics.presets import Preset
    from peftcorr.metrics.scores import Scores

    Scored = dict[str, dict[str, dict[str, Scores]]]  # dataset/split -> predictor -> preset

SUMMARY = "Score saved predictions by any preset and threshold, without the model."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument(
        "predictions", type=Path, metavar="PREDICTIONS.parquet", help="file of predictions that a run saved"
    )
    parser.add_argument(
        "--preset", nargs="+", default=["peftcorr"], metavar="NAME",
        help="definitions of correct (default: peftcorr)",
    )  # fmt: skip
    parser.add_argument(
        "--alphas", type=float, nargs="+", default=list(ALPHAS), metavar="A",
        help=f"thresholds of PCK (default: {' '.join(map(str, ALPHAS))})",
    )  # fmt: skip
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write all scores there too, by category as well"
    )


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand: print the tables and, with ``--json``, write everything.

    Raises:
        PeftCorrError: if the file is no predictions, or a preset or threshold is none that it can be scored by.
    """
    with importing():
        from pydantic_core import to_jsonable_python

        from peftcorr.files import atomic_path
        from peftcorr.metrics.presets import preset_named

    chosen = [preset_named(name) for name in dict.fromkeys(parsed.preset)]
    thresholds = sorted(set(parsed.alphas))
    path: Path = parsed.predictions
    output: Path | None = parsed.json
    scored = score_by_presets(path, chosen, thresholds)
    if output is not None:
        presets = {preset.name: preset for preset in chosen}
        document = {"predictions": path.name, "presets": presets, "scores": scored}
        with atomic_path(output) as temporary:
            temporary.write_text(json.dumps(to_jsonable_python(document), indent=1) + "\n", encoding="utf-8")
    for where, predictors in scored.items():
        for predictor, by_preset in predictors.items():
            _print(f"{where}, {predictor}", by_preset, chosen, thresholds)
    return 0


def score_by_presets(path: Path, presets: Sequence[Preset], alphas: Sequence[float]) -> Scored:
    """Score a file of predictions by each of some presets: dataset/split -> predictor -> preset's name.

    Raises:
        PeftCorrError: as `read_predictions` and `score_predictions`, naming the file.
    """
    with importing():
        from peftcorr.metrics.aggregate import score_predictions
        from peftcorr.results.runs import checked_predictions

    table = checked_predictions(path)
    scored: Scored = {}
    for preset in presets:
        try:
            by_split = score_predictions(table, alphas, preset)
        except PeftCorrError as error:
            raise PeftCorrError(f"{path}: {error}") from error
        for where, predictors in by_split.items():
            for predictor, scores in predictors.items():
                scored.setdefault(where, {}).setdefault(predictor, {})[preset.name] = scores
    return scored


def aggregate_title(aggregate: str) -> str:
    """An aggregate's name for people: ``category mean, per image``."""
    return aggregate.replace("category_mean_", "category mean, ").replace("_", " ")


def _print(
    title: str, scored: Mapping[str, Scores], presets: Sequence[Preset], alphas: Sequence[float]
) -> None:
    from peftcorr.metrics.aggregate import alpha_key
    from peftcorr.metrics.presets import AGGREGATES

    rows: list[list[str] | None] = []
    for preset in presets:
        aggregates = scored[preset.name].aggregates()
        for alpha in alphas:
            row = [preset.name if alpha == alphas[0] else "", alpha_key(alpha)]
            for aggregate in AGGREGATES:
                reported = "*" if aggregate in preset.reports else " "
                row.append(f"{aggregates[aggregate][alpha_key(alpha)]:.2f}{reported}")
            rows.append(row)
        rows.append(None)
    some = next(iter(scored.values()))
    console = Console()
    print_table(
        console,
        ["preset", "alpha", *map(aggregate_title, AGGREGATES)],
        rows,
        title=title,
        caption=f"PCK in percent: {some.n_pairs:,} pairs, {some.n_keypoints:,} keypoints, "
        f"{len(some.per_category)} categories. *: what the preset's source reports.",
    )
    console.print()

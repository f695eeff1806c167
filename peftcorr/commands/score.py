"""``peftcorr score PREDICTIONS.parquet``: every aggregate by any preset and threshold, without the model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from peftcorr.console.table import print_table
from peftcorr.errors import PeftCorrError
from peftcorr.files import atomic_path
from peftcorr.metrics.aggregate import alpha_key, score_predictions
from peftcorr.metrics.presets import AGGREGATES, Preset, preset_named
from peftcorr.metrics.scores import Scores
from peftcorr.predictions import read_predictions

Scored = dict[str, dict[str, dict[str, Scores]]]  # dataset/split -> predictor -> preset


def run(path: Path, presets: Sequence[str], alphas: Sequence[float], output: Path | None) -> int:
    """Carry out the subcommand: print the tables and, with `output`, write everything as JSON.

    Raises:
        PeftCorrError: if the file is no predictions, or a preset or threshold is none that it can be scored by.
    """
    chosen = [preset_named(name) for name in dict.fromkeys(presets)]
    thresholds = sorted(set(alphas))
    scored = score_by_presets(path, chosen, thresholds)
    console = Console()
    for where, predictors in scored.items():
        for predictor, by_preset in predictors.items():
            _print(f"{where}, {predictor}", by_preset, chosen, thresholds, console)
            console.print()
    if output is not None:
        with atomic_path(output) as temporary:
            temporary.write_text(
                json.dumps(_document(path, chosen, scored), indent=1) + "\n", encoding="utf-8"
            )
    return 0


def score_by_presets(path: Path, presets: Sequence[Preset], alphas: Sequence[float]) -> Scored:
    """Score a file of predictions by each of some presets: dataset/split -> predictor -> preset's name.

    Raises:
        PeftCorrError: as `read_predictions` and `score_predictions`, naming the file.
    """
    table = read_predictions(path)
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
    title: str,
    scored: Mapping[str, Scores],
    presets: Sequence[Preset],
    alphas: Sequence[float],
    console: Console,
) -> None:
    rows: list[list[str] | None] = []
    for preset in presets:
        aggregates = scored[preset.name].aggregates()
        for alpha in alphas:
            cells = [
                f"{aggregates[aggregate][alpha_key(alpha)]:.2f}"
                + ("*" if aggregate in preset.reports else " ")
                for aggregate in AGGREGATES
            ]
            rows.append([preset.name if alpha == alphas[0] else "", alpha_key(alpha), *cells])
        rows.append(None)
    some = next(iter(scored.values()))
    print_table(
        console,
        ["preset", "alpha", *map(aggregate_title, AGGREGATES)],
        rows,
        title=title,
        caption=f"PCK in percent: {some.n_pairs:,} pairs, {some.n_keypoints:,} keypoints, "
        f"{len(some.per_category)} categories. *: what the preset's source reports.",
    )


def _document(path: Path, presets: Sequence[Preset], scored: Scored) -> dict[str, object]:
    return {
        "predictions": path.name,
        "presets": {preset.name: preset.model_dump(mode="json") for preset in presets},
        "scores": {
            where: {
                predictor: {name: scores.model_dump(mode="json") for name, scores in by_preset.items()}
                for predictor, by_preset in predictors.items()
            }
            for where, predictors in scored.items()
        },
    }

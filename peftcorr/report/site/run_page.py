"""What a run's own page shows: its recipe, what made it, its curves and scores, and how to run it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from peftcorr.console import numbers
from peftcorr.errors import PeftCorrError, visible
from peftcorr.metrics.breakdown import CURVE, Breakdown, breakdown
from peftcorr.metrics.presets import AGGREGATES
from peftcorr.metrics.scores import Scores
from peftcorr.report.breakdown import Sheet, sheets
from peftcorr.report.configuration import convention, description, is_trained, method, trained_on
from peftcorr.report.labels import flatten
from peftcorr.report.paired import rows_of
from peftcorr.results.record import Record
from peftcorr.results.store import Store

Facts = list[tuple[str, str]]

_RENDERED = "synthetic"  # every other dataset is read from a folder


@dataclass(frozen=True)
class Scored:
    """One split and predictor: a title, the tables below it, and the curve of PCK over the threshold.

    The curve is [threshold, PCK per keypoint, low, high], from the predictions where they are there, else at the
    record's thresholds.
    """

    title: str
    tables: tuple[Sheet, ...]
    curve: list[tuple[float, float, float | None, float | None]]


@dataclass(frozen=True)
class RunPage:
    """Everything that the template of a run shows."""

    run_id: str
    title: str
    failure: str | None
    facts: Facts
    command: str
    needs: list[str]
    recipe: Facts
    made_by: list[tuple[str, Facts]]
    scored: list[Scored]
    curves: dict[str, Any]
    matches: str | None


def run_page(record: Record, label: str, store: Store, detailed: bool, matches: str | None) -> RunPage:
    """Return what a run's page shows.

    Args:
        record: of the run.
        label: what its row is called.
        store: where its predictions may be.
        detailed: whether its scores are broken down from them, which takes a second a split.
        matches: address of its drawn matches, if there are any.
    """
    scored = [
        _scored(record, store, split, predictor, scores, detailed)
        for split, predictors in record.scores.items()
        for predictor, scores in predictors.items()
    ]
    return RunPage(
        run_id=record.run_id,
        title=description(record),
        failure=None
        if record.status == "ok"
        else " ".join((record.error or "no error was recorded").split()),
        facts=_facts(record, label),
        command=_command(record),
        needs=list(_needs(record)),
        recipe=[(name, _value(value)) for name, value in flatten(record.recipe).items()],
        made_by=list(_made_by(record)),
        scored=scored,
        curves=_curves(record, scored),
        matches=matches,
    )


def recipe_text(record: Record) -> str:
    """A record's recipe as a file that ``peftcorr run --recipe`` takes."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(record.recipe, Dumper=dumper, sort_keys=False, allow_unicode=False)
    return text


def _command(record: Record) -> str:
    """What runs the recipe again; paths are the reader's."""
    parts = ["peftcorr", "run", "--recipe", f"{record.run_id}.yaml"]
    sections = [record.recipe.get("dataset"), *(record.recipe.get("eval_on") or [])]
    names = [str(section.get("name")) for section in sections if isinstance(section, dict)]
    roots = [f"{visible(name)}=PATH" for name in dict.fromkeys(names) if name != _RENDERED]
    parts += ["--data-root", *roots] if roots else []
    parts += [] if record.official_weights else ["--weights", "PATH"]
    parts += ["--plugin", "FILE.py"] if _plugins(record) else []
    return shlex.join(parts)


def _plugins(record: Record) -> list[str]:
    """Kind and name of what plugins registered for a run."""
    return [name.removeprefix("plugin ") for name in record.ingredients if name.startswith("plugin ")]


def _needs(record: Record) -> Iterator[str]:
    """What the command takes beside the recipe, in sentences."""
    if plugins := _plugins(record):
        yield f"FILE.py registers {', '.join(plugins)}; a plugin that is installed needs no --plugin."
    if start := record.recipe.get("init_from"):
        yield (
            f"Training starts from the adapter of the run {start}: the folder of --output (runs) has to have that run, "
            "so make it first."
        )


def _facts(record: Record, label: str) -> Facts:
    cost = record.cost
    rate = record.learning_rate
    return [
        ("row", label),
        ("strategy", method(record)),
        ("backbone", record.backbone),
        ("trained on", trained_on(record)),
        ("seed", str(record.seed) if is_trained(record) else numbers.MISSING),
        ("trainable parameters", numbers.count(record.trainable_parameters)),
        ("share of all", numbers.share(record.trainable_parameters, record.total_parameters)),
        ("learning rate", numbers.MISSING if rate is None else f"{rate:g}"),
        ("steps", numbers.MISSING if cost is None else numbers.count(cost.steps or None)),
        ("best step", numbers.count(record.best_step)),
        ("training time", numbers.duration(cost.train_seconds if cost else None)),
        ("evaluation time", numbers.duration(cost.eval_seconds if cost else None)),
        ("peak memory", numbers.memory(cost.peak_memory_bytes if cost else None)),
        ("adapter", numbers.memory(record.adapter_bytes)),
        ("matched by the convention", convention(record)),
        ("correct as defined by", f"{record.protocol.name}: {record.protocol.source}"),
    ]


def _made_by(record: Record) -> Iterator[tuple[str, Facts]]:
    """Names and digests of what a run read and wrote, and what it ran on."""
    weights = [("weights", record.weights_id), ("SHA-256", record.weights_sha256 or numbers.MISSING)]
    if record.weights_commit:
        weights.append(("commit", record.weights_commit))
    yield "Weights", [*weights, ("official", "yes" if record.official_weights else "no")]
    if record.ingredients:
        yield "Digests of what it read", list(record.ingredients.items())
    if record.files:
        yield "Digests of what it wrote", list(record.files.items())
    for split, leakage in (record.leakage or {}).items():
        yield f"Images shared by training and {split}", _plain(leakage.model_dump(mode="json"))
    if record.environment is not None:
        yield "Machine and packages", _plain(record.environment.model_dump(mode="json"))


def _plain(document: dict[str, Any]) -> Facts:
    return [(name, _value(value)) for name, value in flatten(document).items()]


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _scored(
    record: Record, store: Store, split: str, predictor: str, scores: Scores, detailed: bool
) -> Scored:
    title = f"{split}, {predictor}"
    intervals = (scores.intervals or {}).get("per_keypoint", {})
    curve = [
        (float(alpha), value, *intervals.get(alpha, (None, None)))
        for alpha, value in sorted(scores.per_keypoint.items(), key=lambda item: float(item[0]))
    ]
    found = _breakdown(record, store, split, predictor, scores) if detailed else None
    if found is None:
        return Scored(title, (_totals(scores), _categories(scores)), curve)
    ends = [(None, None)] * len(CURVE) if found.curve_intervals is None else found.curve_intervals[0].tolist()
    curve = [
        (alpha, round(float(value), 4), *low_high)
        for alpha, value, low_high in zip(CURVE, found.curve[0], ends, strict=True)
    ]
    return Scored(title, (_totals(scores), *sheets(found)), curve)


def _breakdown(record: Record, store: Store, split: str, predictor: str, scores: Scores) -> Breakdown | None:
    """By everything that the predictions tell; None where they are not there or are not sound."""
    path = store.predictions_path(record.run_id)
    if not path.is_file():
        return None
    try:
        rows = rows_of(path, split, predictor)
    except PeftCorrError:
        return None
    alphas = sorted(float(alpha) for alpha in scores.per_keypoint)
    unseen = record.generalisation.get(split)
    return breakdown(split.rpartition("/")[0], rows, alphas, unseen, record.protocol)


def _totals(scores: Scores) -> Sheet:
    alphas = sorted(scores.per_keypoint, key=float)
    rows = []
    for aggregate in AGGREGATES:
        values, ends = scores.aggregates()[aggregate], (scores.intervals or {}).get(aggregate, {})
        cells = (numbers.with_interval(_spread(values.get(alpha), ends.get(alpha))) for alpha in alphas)
        rows.append((aggregate.replace("_", " "), *cells))
    counts = f"{scores.n_pairs:,} pairs, {scores.n_keypoints:,} keypoints"
    return Sheet(counts, ("PCK in percent", *(f"@{alpha}" for alpha in alphas)), tuple(rows))


def _spread(value: float | None, ends: tuple[float, float] | None) -> numbers.Spread | None:
    return None if value is None else numbers.Spread(value, interval=ends)


def _categories(scores: Scores) -> Sheet:
    alphas = sorted(scores.per_keypoint, key=float)
    rows = tuple(
        (
            name,
            f"{one.n_pairs:,}",
            f"{one.n_keypoints:,}",
            *(numbers.percentage(_spread(one.per_keypoint.get(alpha), None)) for alpha in alphas),
        )
        for name, one in sorted(scores.per_category.items())
    )
    header = ("category", "pairs", "keypoints", *(f"PCK@{alpha} per keypoint" for alpha in alphas))
    return Sheet("by category", header, rows)


def _curves(record: Record, scored: list[Scored]) -> dict[str, Any]:
    """What the page's script draws."""
    losses = [point.loss for point in record.validation]
    return {
        "validation": [[point.step, point.pck] for point in record.validation],
        "losses": losses if None not in losses else [],
        "best": record.best_step,
        "search": [[point.learning_rate, point.pck] for point in record.learning_rate_search],
        "chosen": record.learning_rate,
        "thresholds": [[visible(one.title), one.curve] for one in scored],
    }

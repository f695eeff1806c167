"""The page, the terminal table and the machine-readable record of one run of `benchmarks/speed.py`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from findings import write_json
from rich.console import Console

from peftcorr.console.table import print_table
from peftcorr.report.pipes import table
from peftcorr.results.environment import environment
from timing import sweeps
from timing.notes import EVALUATION, NOTES, SPAIR_SIZED, SWEEPS, TRAINING, VARIANTS
from timing.settings import PROJECT, Settings

Cells = list[list[str]]

_EVALUATION = [
    "workload",
    "pairs",
    "images",
    "naive loop",
    "peftcorr",
    "encoder alone",
    "naive / ours",
    "ours / limit",
    "forwards",
    "peak memory",
    "scores differ by",
]
_SPAIR_SIZED = ["figure", "as SPair-71k", "pairs tripled", "nine times the pairs"]
_TRAINING = [
    "workload",
    "trainable",
    "naive, 1 pair a step",
    "naive, 8 pairs a step",
    "peftcorr",
    "ours / naive",
    "pairs a step",
    "peak memory",
]
_VARIANTS = ["encoder", "images a second", "times the default", "features differ by", "PCK differs by"]


@dataclass
class Findings:
    """What was measured: records of the cases, by name."""

    evaluation: dict[str, dict[str, Any]] = field(default_factory=dict)
    spair: dict[str, Any] | None = None
    training: dict[str, dict[str, Any]] = field(default_factory=dict)
    variants: list[dict[str, Any]] = field(default_factory=list)
    sweeps: list[sweeps.Row] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def machine() -> dict[str, Any]:
    """What it ran on; how busy the machine was before decides how far times can be trusted."""
    found = environment(1, "no", PROJECT / "leaderboard")
    return {
        "cpu": found.cpu,
        "cores": psutil.cpu_count(logical=False),
        "threads": found.cpu_threads,
        "memory_bytes": psutil.virtual_memory().total,
        "load_before": round(os.getloadavg()[0], 2),
        "platform": found.platform,
        "python": found.python,
        "packages": found.packages,
        "commit": found.commit,
        "dirty": found.dirty,
    }


def write(path: Path, found: Findings, on: dict[str, Any], settings: Settings) -> None:
    """Write the page to `path` and the record beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_markdown(found, on, settings), encoding="utf-8")
    content = {
        "schema_version": 1,
        "machine": on,
        "repetitions": settings.repetitions,
        "quick": settings.quick,
        **vars(found),
    }
    write_json(path.with_suffix(".json"), content)


def show(found: Findings, console: Console) -> None:
    """Print the tables."""
    for title, header, rows in _tables(found):
        print_table(console, header, rows, title=title)


def _tables(found: Findings) -> list[tuple[str, list[str], Cells]]:
    tables: list[tuple[str, list[str], Cells]] = []
    if found.evaluation:
        tables.append(
            (EVALUATION, _EVALUATION, [_evaluation_row(item) for item in found.evaluation.values()])
        )
    if found.spair is not None:
        tables.append((SPAIR_SIZED, _SPAIR_SIZED, _spair(found.spair)))
    if found.training:
        tables.append((TRAINING, _TRAINING, [_training_row(item) for item in found.training.values()]))
    if found.variants:
        tables.append((VARIANTS, _VARIANTS, [_variant_row(item) for item in found.variants]))
    if found.sweeps:
        tables.append((SWEEPS, sweeps.HEADER, [list(row) for row in found.sweeps]))
    return tables


def _evaluation_row(item: dict[str, Any]) -> list[str]:
    asked = item["times_naive_asked"]
    return [
        f"{item['name']}, {item['size']} px",
        f"{item['pairs']:,}",
        f"{item['images']:,}",
        f"{item['naive_seconds']:,.1f} s",
        f"{item['ours_seconds']:,.2f} s",
        f"{item['limit_seconds']:,.2f} s",
        f"{item['times_naive']:.1f} (bound {item['bound']:.1f})"
        + (_against(f"≥ {asked:g}") if asked else ""),
        f"{item['times_limit']:.3f}" + (_against(f"≤ {item['times_limit_asked']:g}") if asked else ""),
        f"{item['forwards']:,} of {2 * item['pairs']:,}",
        _megabytes(item["peak_bytes"]),
        f"{item['score_difference']:.1g}",
    ]


def _spair(item: dict[str, Any]) -> Cells:
    whole, rest = item["whole"], item["rest"]
    asked = _against(f"< {item['rest_seconds_asked']:g} s")
    seconds = [f"{_middle(values):.1f} s" for values in rest["seconds"]]
    return [
        ["pairs", *(f"{pairs:,}" for pairs in item["pairs"])],
        ["forwards", *(f"{max(forwards):,}" for forwards in whole["forwards"])],
        ["peak memory, median (least to most)", *map(_spread, whole["peak_bytes"])],
        ["until the last image is encoded", *map(_spread, whole["peak_bytes_encoding"])],
        ["peak memory without an encoder", *map(_spread, rest["peak_bytes"])],
        [
            f"everything but the encoder ({item['rest_channels']} channels at {item['rest_size']} px)",
            seconds[0] + asked,
            *seconds[1:],
        ],
    ]


def _training_row(item: dict[str, Any]) -> list[str]:
    return [
        item["name"],
        f"{item['trainable']:,}",
        f"{_middle(item['naive_one']):.2f}",
        f"{_middle(item['naive_batch']):.2f}",
        f"{item['ours_pairs_per_second']:.1f}",
        f"{item['times_naive']:.1f}" + _against(f"≥ {item['times_naive_asked']:g}"),
        f"{item['pairs_a_step']:.1f}",
        _megabytes(item["peak_bytes"]),
    ]


def _variant_row(item: dict[str, Any]) -> list[str]:
    if item["error"] is not None:
        return [item["name"], item["error"], "-", "-", "-"]
    scored = item["score_difference"]
    return [
        item["name"],
        f"{item['images_per_second']:.1f}",
        f"{item['times_default']:.2f}",
        f"{item['feature_difference']:.1g}",
        "-" if scored is None else f"{scored:.2f}",
    ]


def _against(asked: str) -> str:
    return f", asked {asked}"


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _spread(sizes: list[int]) -> str:
    return f"{_megabytes(int(_middle(sizes)))} ({min(sizes) / 1e6:,.0f} to {_megabytes(max(sizes))})"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def _markdown(found: Findings, on: dict[str, Any], settings: Settings) -> str:
    lines = [
        "# Speed",
        "",
        "Made by `python benchmarks/speed.py`; the JSON file beside it has the same figures and each repetition's.",
        "",
        f"{on['cpu']}, {on['cores']} cores, {on['threads']} threads, {on['memory_bytes'] / 1e9:.0f} GB; "
        f"{on['platform']}, Python {on['python']}, torch {on['packages']['torch']}; commit {on['commit']}"
        f"{' with changes' if on['dirty'] else ''}. Load before the run: {on['load_before']}.",
    ]
    if settings.quick:
        lines += [
            "",
            "**A quick run on a few pairs: it shows that the benchmark works, not how fast peftcorr is.**",
        ]
    for title, header, rows in _tables(found):
        lines += ["", f"## {title}", "", table(header, rows, left=(0,)), "", NOTES[title].strip()]
        if title == TRAINING:
            lines += _prefix_notes(found)
    if found.left_out:
        lines += ["", f"Left out, because their data are not here: {', '.join(found.left_out)}."]
    return "\n".join(lines) + "\n"


def _prefix_notes(found: Findings) -> list[str]:
    notes = []
    for item in found.training.values():
        blocks, seconds = item["first_trainable_block"], item["fill_seconds"]
        if blocks:
            notes.append(
                f"- {item['name']}: the first {blocks} blocks run once an image. That is not in the figure: "
                f"{seconds:.0f} s for all images of the split. With and without kept prefixes the first losses "
                f"differ by {item['loss_difference']:.1g} at most."
            )
    return notes

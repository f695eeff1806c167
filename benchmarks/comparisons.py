"""What a leaderboard's runs differ by, pair by pair of them, each difference with its interval.

    python benchmarks/comparisons.py leaderboard

compares the runs whose predictions are there, by argmax and PCK@0.1 per keypoint: every trained run with its frozen
backbone, each strategy trained on one dataset with itself trained on another, and one strategy with the others. It
writes ``comparisons.json`` and ``comparisons.md`` into the output folder; ``--runs`` reads the runs from another one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
from findings import write_json

from peftcorr.errors import PeftCorrError
from peftcorr.files import atomic_path
from peftcorr.metrics.compare import compare
from peftcorr.predictions import read_predictions
from peftcorr.report.configuration import (
    backbone_label,
    configurations_of,
    image_size,
    is_trained,
    trained_on,
)
from peftcorr.report.pipes import escaped, table
from peftcorr.results.protocol import agreed_preset, check_same_pairs
from peftcorr.results.record import Record
from peftcorr.results.store import Store

PREDICTOR, ALPHA, AGGREGATE = "argmax", 0.1, "per_keypoint"
REFERENCE = "lora"  # the strategy that the others are compared with
_INTRODUCTION = """\
# Which differences are larger than chance

Differences of PCK@0.1 per keypoint (argmax) in percentage points between two runs scored on the same pairs, each with
its 95 % interval by a bootstrap over images that draws the same images for both (`peftcorr compare`). **Bold** is an
interval without 0. An interval is about other images of these categories, and about these two runs: other seeds are
other rows. Of many intervals at 95 %, one in twenty misses by chance.
"""
_SECTIONS = {
    "frozen": ("Trained less frozen", "What training has changed, on the dataset of the training and on others."),
    "data": ("The same strategy and seed, trained on other data", "The second dataset's run less the first's."),
    "strategy": (
        f"The other strategies less {REFERENCE}",
        f"The same backbone, training data and seed; positive where {REFERENCE} is behind.",
    ),
}  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Write both files; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("output", type=Path, nargs="?", default=Path("leaderboard"), metavar="DIR")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="folder of the runs (default: DIR)")
    parsed = parser.parse_args(arguments)
    try:
        found = differences(Store(parsed.runs or parsed.output))
        write_json(parsed.output / "comparisons.json", found)
        with atomic_path(parsed.output / "comparisons.md") as temporary:
            temporary.write_text(render(found), encoding="utf-8", newline="\n")
    except PeftCorrError as error:
        print(f"comparisons: {error}", file=sys.stderr)
        return 2
    print(parsed.output / "comparisons.md")
    return 0


def differences(store: Store) -> list[dict[str, Any]]:
    """Every comparison that the runs allow.

    Raises:
        PeftCorrError: if there are no two runs with predictions, or their tables cannot be read.
    """
    there = [
        record
        for record in store.records()
        if record.status == "ok" and store.predictions_path(record.run_id).is_file()
    ]
    labels = {
        record.run_id: configuration.label
        for configuration in configurations_of(there)
        for record in configuration.records
    }

    @cache
    def rows(run_id: str) -> pa.Table:
        return read_predictions(store.predictions_path(run_id))

    found = []
    for kind, first, second in _questions(there, labels):
        pair, names = (first, second), (first.run_id, second.run_id)
        check_same_pairs(pair, names)
        compared = compare(
            [rows(first.run_id)],
            [rows(second.run_id)],
            [ALPHA],
            [PREDICTOR],
            preset=agreed_preset(pair, names),
            names=([first.run_id], [second.run_id]),
        )
        found += [
            {
                "kind": kind,
                "strategy": labels[second.run_id],
                "backbone": backbone_label(second),
                "image_size": image_size(second),
                "trained_on": [trained_on(record) for record in pair],
                "seed": second.seed,
                "runs": list(names),
                "tested_on": one.split,
                "scores": [round(score, 4) for score in one.scores],
                "difference": round(one.difference, 4),
                "interval": [round(end, 4) for end in one.interval],
            }
            for one in compared
            if one.aggregate == AGGREGATE and one.interval is not None
        ]
    if not found:
        raise PeftCorrError(
            f"No two runs with predictions can be compared in {store.root}: train some first."
        )
    return found


def _questions(records: Sequence[Record], labels: dict[str, str]) -> list[tuple[str, Record, Record]]:
    """Kind of the comparison, and the two runs of each."""
    found = []
    trained = [record for record in records if is_trained(record)]
    for record in trained:
        found += [
            ("frozen", base, record)
            for base in records
            if not is_trained(base) and _input(base) == _input(record)
        ]
    for one, other in combinations(trained, 2):
        same = {key: one.recipe.get(key) == other.recipe.get(key) for key in ("strategy", "training", "seed")}
        if _input(one) != _input(other) or not (same["training"] and same["seed"]):
            continue
        if same["strategy"] and one.dataset != other.dataset:
            first, second = sorted((one, other), key=lambda record: record.dataset)
            found.append(("data", first, second))
        elif one.dataset == other.dataset and (one.strategy == REFERENCE) != (other.strategy == REFERENCE):
            first, second = (one, other) if one.strategy == REFERENCE else (other, one)
            found.append(("strategy", first, second))
    kinds = list(_SECTIONS)
    return sorted(
        found,
        key=lambda q: (kinds.index(q[0]), _input(q[2]), trained_on(q[2]), labels[q[2].run_id], q[2].seed),
    )


def _input(record: Record) -> tuple[str, str, int]:
    return backbone_label(record), record.weights_id, image_size(record) or 0


def render(found: Sequence[dict[str, Any]]) -> str:
    """The page."""
    lines = [_INTRODUCTION]
    for kind, (title, text) in _SECTIONS.items():
        own = [entry for entry in found if entry["kind"] == kind]
        if not own:
            continue
        lines += [f"## {title}", "", text, ""]
        splits = sorted({entry["tested_on"] for entry in own})
        by_pair: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for entry in own:
            by_pair.setdefault(tuple(entry["runs"]), []).append(entry)
        head = ["Strategy", "Backbone", "Trained on", "Seed", *splits]
        lines += [table(head, [_row(entries, splits) for entries in by_pair.values()], left=(0, 1, 2)), ""]
    return "\n".join(lines)


def _row(entries: Sequence[dict[str, Any]], splits: Sequence[str]) -> list[str]:
    one = entries[0]
    data = " → ".join(dict.fromkeys(name for name in one["trained_on"] if name != "-"))
    cells = {entry["tested_on"]: _cell(entry) for entry in entries}
    return [
        escaped(one["strategy"]),
        escaped(one["backbone"]),
        escaped(data),
        str(one["seed"]),
        *(cells.get(s, "-") for s in splits),
    ]


def _cell(entry: dict[str, Any]) -> str:
    low, high = entry["interval"]
    text = f"{entry['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

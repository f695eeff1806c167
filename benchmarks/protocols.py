"""How far presets and aggregates move the score of the very same predictions.

    python benchmarks/protocols.py leaderboard/predictions/RUN.parquet --output leaderboard

writes ``protocols.md`` into the output folder from the predictions of one run, without its model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from peftcorr.commands.score import aggregate_title, score_by_presets
from peftcorr.errors import PeftCorrError
from peftcorr.files import atomic_path
from peftcorr.metrics.presets import AGGREGATES, PRESETS
from peftcorr.metrics.scores import Scores
from peftcorr.report.configuration import description
from peftcorr.report.pipes import table
from peftcorr.results.record import Record
from peftcorr.results.runs import record_beside

_INTRODUCTION = """\
# One set of predictions, every protocol

The same predictions, scored by every preset and averaged in every way: no number here differs by what was predicted.
Each table holds one threshold; **bold** is what the preset's own source publishes. *Spread* is the largest less the
smallest value of a row or column, in points, and in the corner that of the whole table. A number without its preset
and its aggregate is uncertain by that much. The averages agree where every pair has as many keypoints and every
category as many pairs, as in PF-Willow; `dift` is `peftcorr` by another name, and `geoaware` differs from them
only where a distance is exactly the limit, since its frame scales distance and s alike.
"""


def main(arguments: Sequence[str]) -> int:
    """Write the page; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS.parquet")
    parser.add_argument("--output", type=Path, default=Path("leaderboard"), metavar="DIR")
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.05, 0.1, 0.2], metavar="A")
    parsed = parser.parse_args(arguments)
    path: Path = parsed.predictions
    page: Path = parsed.output / "protocols.md"
    try:
        # A run's predictions go one way round.
        presets = [preset for preset in PRESETS.values() if preset.direction == "forwards"]
        scored = score_by_presets(path, presets, sorted(set(parsed.alphas)))
        record = record_beside(path)
        with atomic_path(page) as temporary:
            temporary.write_text(render(scored, path.stem, record), encoding="utf-8", newline="\n")
    except PeftCorrError as error:
        print(f"protocols: {error}", file=sys.stderr)
        return 2
    print(page)
    return 0


def render(
    scored: Mapping[str, Mapping[str, Mapping[str, Scores]]], run_id: str, record: Record | None
) -> str:
    """Return the page.

    Args:
        scored: what `score_by_presets` gives for all presets.
        run_id: the run whose predictions they are.
        record: the run's record, if there is one.
    """
    lines = [
        _INTRODUCTION,
        f"Predictions of run `{run_id}`{f': {description(record)}' if record else ''}.",
        f"Written by `python benchmarks/protocols.py leaderboard/predictions/{run_id}.parquet`.",
        "",
        "| preset | frame | correct when | s | source |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| `{preset.name}` | {preset.frame} | distance {preset.comparator.replace('<', '&lt;')} alpha · s "
            f"| {preset.normaliser} | {preset.source} |"
            for preset in PRESETS.values()
            if preset.direction == "forwards"
        ),
        "",
    ]
    for where, predictors in scored.items():
        for predictor, by_preset in predictors.items():
            one = next(iter(by_preset.values()))
            lines += [
                f"## {where}, {predictor}",
                "",
                f"{one.n_pairs:,} pairs, {one.n_keypoints:,} keypoints, {len(one.per_category)} categories.",
                "",
            ]
            for alpha in one.per_keypoint:
                lines += [_table(by_preset, alpha), ""]
    return "\n".join(lines)


def _table(by_preset: Mapping[str, Scores], alpha: str) -> str:
    values = {
        name: [scores.aggregates()[aggregate][alpha] for aggregate in AGGREGATES]
        for name, scores in by_preset.items()
    }
    rows = []
    for name, row in values.items():
        cells = [
            f"**{value:.2f}**" if aggregate in PRESETS[name].reports else f"{value:.2f}"
            for aggregate, value in zip(AGGREGATES, row, strict=True)
        ]
        rows.append([f"`{name}`", *cells, _spread(row)])
    whole = [value for row in values.values() for value in row]
    rows.append(["spread", *map(_spread, zip(*values.values(), strict=True)), f"**{_spread(whole)}**"])
    return table([f"PCK@{alpha}", *map(aggregate_title, AGGREGATES), "spread"], rows, left=(0,))


def _spread(values: Sequence[float]) -> str:
    return f"{max(values) - min(values):.2f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

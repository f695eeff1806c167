"""PCK over how many of the last blocks are trained, as Men et al. show it: a panel a backbone, a line a threshold."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from peftcorr.console.numbers import Spread
from peftcorr.report.configuration import made_of, part
from peftcorr.report.leaderboard import Board, Leaderboard, Row
from peftcorr.report.rendering import FONT, Format, label_of, rendered
from peftcorr.results.record import Record

_STYLES = (("#0072B2", "o", "-"), ("#D55E00", "s", "--"), ("#009E73", "^", "-."), ("#CC79A7", "D", ":"))


@dataclass(frozen=True)
class Depth:
    """Runs that differ in the number of trained blocks alone.

    Attributes:
        title: backbone, size, what it was trained on and for how many steps.
        values: PCK by threshold, by the number of blocks; 0 is the frozen backbone.
    """

    title: str
    values: dict[int, dict[str, Spread]]


def depths(leaderboard: Leaderboard, board: Board) -> list[Depth]:
    """The rows of ``last_k`` on a board, where there are several numbers of blocks of the same training.

    Args:
        leaderboard: has the records of the rows.
        board: of one predictor on one split.
    """
    records = {record.run_id: record for _, record in leaderboard.runs}
    frozen: dict[str, Row] = {}
    found: dict[str, dict[int, Row]] = defaultdict(dict)
    for row in board.rows:
        record = records[row.run_ids[0]]
        blocks = part(record, "strategy").get("k")
        if row.strategy == "frozen":
            frozen.setdefault(row.start, row)
        elif row.strategy == "last_k" and type(blocks) is int:
            found[_training(record)][blocks] = row
    several = [by_blocks for by_blocks in found.values() if len(by_blocks) > 1]
    return sorted((_depth(rows, frozen, records) for rows in several), key=lambda one: one.title)


def draw_depths(title: str, found: Sequence[Depth], alphas: Sequence[str], kind: Format = "svg") -> bytes:
    """Return the figure of one split, the same bytes for the same numbers.

    Args:
        title: what was scored.
        found: a panel each.
        alphas: thresholds, a line each; of more than three, the first, the middle and the last.
        kind: of file.
    """
    shown = alphas if len(alphas) <= 3 else (alphas[0], alphas[len(alphas) // 2], alphas[-1])
    return rendered(lambda: _figure(title, found, shown), kind)


def _training(record: Record) -> str:
    """All that two runs of a curve have in common: their recipe but for the number of blocks and the seed."""
    recipe = {
        key: value for key, value in record.recipe.items() if key not in ("seed", "eval_on", "predictors")
    }
    recipe["strategy"] = {key: value for key, value in part(record, "strategy").items() if key != "k"}
    recipe["training"] = {
        key: value for key, value in part(record, "training").items() if key != "learning_rate"
    }  # a search finds one for each
    names = [record.weights_id, record.weights_sha256, made_of(record)]
    return json.dumps([recipe, *names], sort_keys=True, default=str)


def _depth(rows: dict[int, Row], frozen: Mapping[str, Row], records: dict[str, Record]) -> Depth:
    one = rows[min(rows)]
    steps = part(records[one.run_ids[0]], "training").get("steps")
    size = f" {one.image_size} px" if one.image_size else ""
    base = None if one.gain is None else frozen.get(one.start)  # nor where its runs do not agree
    whole = rows if base is None else {0: base, **rows}
    return Depth(
        f"{label_of(f'{one.backbone}{size}')}\n"
        + label_of(f"trained on {one.trained_on}" + (f", {steps:,} steps" if type(steps) is int else "")),
        {blocks: whole[blocks].per_keypoint for blocks in sorted(whole)},
    )


def _figure(title: str, found: Sequence[Depth], alphas: Sequence[str]) -> Figure:
    columns = min(2, len(found))
    lines = -(-len(found) // columns)
    figure = Figure(figsize=(9 if columns == 2 else 5.5, 0.9 + 3 * lines), dpi=72, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(label_of(title, 120), x=0.01, ha="left", weight="bold", fontsize=FONT + 2)
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(found) :]:
        axes.set_axis_off()
    for axes, one in zip(panels.flat, found, strict=False):
        for alpha, (colour, marker, dashes) in zip(alphas, _STYLES, strict=False):
            there = {blocks: values[alpha] for blocks, values in one.values.items() if alpha in values}
            axes.errorbar(
                list(there), [value.mean for value in there.values()],
                yerr=[value.sd or 0.0 for value in there.values()], color=colour, marker=marker, linestyle=dashes,
                capsize=2.5, label=f"PCK@{alpha}",
            )  # fmt: skip
        axes.set_title(one.title, fontsize=FONT)
        axes.grid(axis="y")
    blocks = sorted({number for one in found for number in one.values})
    panels[0, 0].set_xticks(blocks, ["frozen" if number == 0 else str(number) for number in blocks])
    panels[0, 0].set_ylim(bottom=0)
    for axes in panels[:, 0]:
        axes.set_ylabel("PCK per keypoint (%)")
    for axes in panels[-1]:
        axes.set_xlabel("k: trained blocks, from the last one")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(alphas))
    return figure

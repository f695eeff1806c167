"""What one command ran, at its end: a row a cell, beside the frozen backbone where that is known."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console

from peftcorr.console import numbers
from peftcorr.console.table import print_line, print_table
from peftcorr.errors import PeftCorrError
from peftcorr.metrics.scores import Part
from peftcorr.report.configuration import (
    backbone_label,
    configurations_of,
    description,
    image_size,
    is_trained,
    trained_on,
    untrained_input,
)
from peftcorr.report.leaderboard import ranking_alpha
from peftcorr.report.paired import paired_difference, rows_of
from peftcorr.report.pairs import Pairs, data_label, definition_label, pairs_of
from peftcorr.report.parts import parts_of
from peftcorr.results.record import Record
from peftcorr.results.store import Store

_GAP = 2  # between the columns of a table in a terminal
_LABEL = 24  # letters of a label that have precedence over columns below this worth
_WORTHY = 3


@dataclass(frozen=True)
class _Split(Pairs):
    """What the rows of one table have in common."""

    predictor: str
    backbone: str
    image_size: int | None

    def title(self, others: Iterable[_Split]) -> str:
        """What tells a table from all `others`."""
        several = len({other.digest for other in others if other.dataset == self.dataset}) > 1
        data = data_label(self) if several else ""
        backbone = f"{self.backbone} {self.image_size} px" if self.image_size else self.backbone
        pairs, definition = f"{self.n_pairs:,} pairs", definition_label(self)
        return ", ".join(filter(None, (self.dataset, pairs, backbone, self.predictor, definition, data)))


@dataclass(frozen=True)
class _Column:
    """Cells below a header; where a terminal is too narrow, the columns of least worth are left out."""

    header: str
    cells: list[str]
    worth: int
    text: bool = False

    def width(self) -> int:
        return max(map(cell_len, [*self.header.split(), *self.cells]), default=0)


def print_summary(root: Path, console: Console, run_ids: Sequence[str]) -> None:
    """Print what some runs scored, why the others failed, and where the rest is.

    A table holds one dataset split and backbone, scored by the first predictor, and a row each run: trained parameters,
    PCK per keypoint, the frozen backbone's from any run on the same pairs, the gain over it in points (with the paired
    95 % interval where both runs' predictions are there) and the time of training. In a terminal it fits the width;
    what does not fit is left out, the score that ranks last of all.

    Args:
        root: output folder of the runs.
        console: where to.
        run_ids: of the command's cells, in their order; no other run has a row.

    Raises:
        PeftCorrError: if a record is not valid.
    """
    store = Store(root)
    everything = {record.run_id: record for record in store.records()}
    asked = [everything[run_id] for run_id in dict.fromkeys(run_ids) if run_id in everything]
    scored = [record for record in asked if record.status == "ok"]
    # The title of a table says how many pairs there were: its rows need not.
    recipes = [{**record.recipe, "limit_pairs": None} for record in scored]
    whole = [record.model_copy(update={"recipe": one}) for record, one in zip(scored, recipes, strict=True)]
    labels = {record.run_id: one.label for one in configurations_of(whole) for record in one.records}
    tables: dict[_Split, list[Record]] = defaultdict(list)
    for record in scored:
        for dataset, predictors in record.scores.items():
            if predictors:
                tables[_split(record, dataset, next(iter(predictors)))].append(record)
    frozen = [record for record in everything.values() if record.status == "ok" and not is_trained(record)]
    found = [(split, _columns(split, records, labels, frozen, store)) for split, records in tables.items()]
    if found:
        gains = any(column.header.startswith("gain") for _, columns in found for column in columns)
        beside = "; gain over the frozen backbone in points" if gains else ""
        console.print()
        print_line(console, f"PCK per keypoint in percent{beside}:")
    for number, (split, columns) in enumerate(found):
        if number:
            console.print()
        shown = _fitted(columns, console)
        print_table(
            console,
            [column.header for column in shown],
            zip(*(column.cells for column in shown), strict=True),
            text=[place for place, column in enumerate(shown) if column.text],
            title=split.title(tables),
        )
    for record in asked:
        if record.status == "failed":
            error = " ".join((record.error or "no error was recorded").split())
            print_line(console, f"Failed: {description(record)} ({record.run_id}): {error}")
    line = f"Leaderboard: {root / 'README.md'}"
    if scored:
        output = "" if root == Path("runs") else f" --output {root}"
        longer = f"{line}; in parts: peftcorr breakdown {scored[0].run_id[:8]}{output}"
        line = longer if not console.is_terminal or cell_len(longer) <= console.width else line
    print_line(console, line)


def _split(record: Record, dataset: str, predictor: str) -> _Split:
    pairs = pairs_of(record, dataset, record.scores[dataset][predictor])
    return _Split(
        **vars(pairs), predictor=predictor, backbone=backbone_label(record), image_size=image_size(record)
    )


def _scores(record: Record, split: _Split) -> dict[str, float]:
    """PCK per keypoint by threshold; empty where the record has none of that split."""
    scores = record.scores.get(split.dataset, {}).get(split.predictor)
    if scores is None or _split(record, split.dataset, split.predictor) != split:
        return {}
    return scores.per_keypoint


def _part(record: Record, split: _Split, part: Part) -> dict[str, float]:
    """PCK per keypoint by threshold on what the training was, or was not, shown; nothing where none was held out."""
    found = record.generalisation.get(split.dataset)
    scores = None if found is None else found.scores.get(split.predictor, {}).get(part)
    return {} if scores is None else scores.per_keypoint


def _columns(
    split: _Split, records: Sequence[Record], labels: dict[str, str], frozen: Sequence[Record], store: Store
) -> list[_Column]:
    scores = [_scores(record, split) for record in records]
    alphas = sorted({alpha for by_alpha in scores for alpha in by_alpha}, key=float)
    ranked_by = ranking_alpha(alphas)
    beside = [_beside_frozen(record, split, ranked_by, frozen, store) for record in records]

    def percent(value: float | None) -> str:
        return numbers.MISSING if value is None else f"{value:.2f}"

    found = [_Column("strategy", [labels[record.run_id] for record in records], 9, text=True)]
    if len({trained_on(record) for record in records} - {numbers.MISSING}) > 1:
        found.append(_Column("trained on", [trained_on(record) for record in records], 8, text=True))
    if len({record.seed for record in records}) > 1:
        found.append(_Column("seed", [str(record.seed) for record in records], 8))
    found.append(_Column("trained", [numbers.count(record.trainable_parameters) for record in records], 4))
    found += [
        _Column(
            f"@{alpha}", [percent(by_alpha.get(alpha)) for by_alpha in scores], 9 if alpha == ranked_by else 2
        )
        for alpha in alphas
    ]
    for part in parts_of(records, split.dataset, split.predictor):
        by_run = [_part(record, split, part).get(ranked_by) for record in records]
        found.append(
            _Column(f"{part.replace('_', ' ')} @{ranked_by}", [percent(value) for value in by_run], 7)
        )
    if any(base is not None for base, _ in beside):
        found.append(_Column(f"frozen @{ranked_by}", [percent(base) for base, _ in beside], 3))
        gains = [gain for _, gain in beside]
        found.append(_Column("gain, 95 %" if any("[" in gain for gain in gains) else "gain", gains, 5))
    seconds = [None if record.cost is None else record.cost.train_seconds for record in records]
    found.append(_Column("time", list(map(numbers.duration, seconds)), 1))
    return found


def _beside_frozen(
    record: Record, split: _Split, alpha: str, frozen: Sequence[Record], store: Store
) -> tuple[float | None, str]:
    """PCK of the frozen backbone that a run started from, and the gain over it with its interval."""
    own = _scores(record, split).get(alpha)
    read = lru_cache(maxsize=2)(rows_of)
    for other in sorted(frozen, key=lambda other: not store.predictions_path(other.run_id).is_file()):
        base = _scores(other, split).get(alpha)
        # What a record of version 1 was made from is not known.
        known = (other.schema_version == 1) is (record.schema_version == 1)
        starts = {untrained_input(run, split.predictor) for run in (other, record)}
        same = is_trained(record) and known and len(starts) == 1
        if own is None or base is None or not same:
            continue
        gain = numbers.signed(own - base)
        paths = [store.predictions_path(run.run_id) for run in (other, record)]
        if not all(path.is_file() for path in paths):
            return base, gain
        try:
            for path in paths:
                read(path, split.dataset, split.predictor)
        except PeftCorrError:  # changed since: what the records say still holds
            return base, gain
        try:
            interval = paired_difference(
                paths[:1], paths[1:], split.dataset, split.predictor, alpha, record.protocol, read
            ).interval
        except PeftCorrError:  # as many pairs, but not the same ones
            continue
        return base, gain if interval is None else f"{gain} {numbers.limits(interval)}"
    return None, numbers.MISSING


def _fitted(columns: list[_Column], console: Console) -> list[_Column]:
    """The columns that a terminal has room for, the labels in the first cut at the end of a word."""
    if not console.is_terminal:
        return columns
    labels = columns[0]
    words = [text.split() for text in (labels.header, *labels.cells)]
    fewest = max(cell_len(some[0]) for some in words if some) + _GAP

    def room(shown: Sequence[_Column]) -> int:
        return console.width - sum(column.width() + _GAP for column in shown[1:])

    while len(columns) > 2:
        least = min(columns[1:], key=lambda column: column.worth)
        wanted = max(fewest, _LABEL) if least.worth < _WORTHY else fewest
        if room(columns) >= min(labels.width(), wanted):
            break
        columns = [column for column in columns if column is not least]
    width = max(room(columns), fewest)
    cells = [textwrap.shorten(label, width, placeholder=" …") for label in labels.cells]
    return [replace(labels, cells=cells), *columns[1:]]

"""The section on what was held out: each strategy on what its training was shown and was not, beside the frozen one."""

from __future__ import annotations

from collections import defaultdict

from peftcorr.console import numbers
from peftcorr.console.numbers import Spread
from peftcorr.report.board_tables import model_name
from peftcorr.report.configuration import (
    backbone_label,
    held_out,
    image_size,
    is_trained,
    trained_on,
    untrained_input,
)
from peftcorr.report.leaderboard import RANKING_ALPHA, SAME, Leaderboard
from peftcorr.report.pairs import pairs_of
from peftcorr.report.parts import one_a_seed, part_spreads, parts_of
from peftcorr.report.pipes import escaped, table
from peftcorr.results.record import Record

_INTRODUCTION = """\
## Keypoints and categories that were held out

These trainings, and all that was chosen for them, never saw some keypoints or categories; the test split is scored
apart on what they saw and what they did not. The value is the PCK@{alpha} per keypoint with its interval, mean ±
standard deviation over several seeds. In brackets stands the difference in points to the frozen backbone on the same
keypoints: what training is worth there. The parts are different keypoints, of which one may be harder than the other:
compare differences, not values, from column to column.
"""
_PREDICTOR = "argmax"
_Group = dict[str, list[Record]]  # records by the label of their configuration


def unseen_section(leaderboard: Leaderboard) -> str:
    """Return the section; nothing where no run held anything out."""
    titles = {(section.pairs, section.traced): section.title for section in leaderboard.sections}
    groups: dict[tuple[str, ...], _Group] = defaultdict(lambda: defaultdict(list))
    for label, record in leaderboard.runs:
        name = f"{label}, {trained_on(record)}" if record.chain else label
        model = model_name(backbone_label(record), image_size(record))
        for tested in record.generalisation:
            for scores in list(record.scores.get(tested, {}).values())[:1]:
                title = titles[pairs_of(record, tested, scores), record.schema_version > 1]
                groups[tested, title, record.dataset, held_out(record), model][name].append(record)
    found = []
    for (tested, title, dataset, held, model), group in sorted(groups.items(), key=lambda one: one[0]):
        if lines := _table(group, tested):
            found += [f"### {escaped(f'{title}, {model}, {dataset} without {held}')}\n", lines]
    return "\n".join([_INTRODUCTION.format(alpha=RANKING_ALPHA), *found]) + "\n" if found else ""


def _table(group: _Group, tested: str) -> str:
    every = [record for records in group.values() for record in records]
    there = sorted({predictor for record in every for predictor in record.generalisation[tested].scores})
    predictor = _PREDICTOR if _PREDICTOR in there or not there else there[0]
    parts = parts_of(every, tested, predictor)
    values: dict[str, list[Spread | None]] = {}
    seeds: dict[str, int] = {}
    frozen: dict[str, list[list[Spread | None]]] = defaultdict(list)  # by what the backbone is given
    for label, records in group.items():
        spread = part_spreads(records, tested, predictor)
        values[label] = [spread.get(f"{part}_per_keypoint", {}).get(RANKING_ALPHA) for part in parts]
        seeds[label] = len(one_a_seed(records)) if is_trained(records[0]) else 0
        if not seeds[label]:
            frozen[untrained_input(records[0], predictor)].append(values[label])
    if not any(value for row in values.values() for value in row):
        return ""

    def order(label: str) -> tuple[bool, float, str]:
        first = values[label][0]
        return seeds[label] > 0, -(first.mean if first else 0.0), label

    rows = []
    for label in sorted(values, key=order):
        beside = frozen[untrained_input(group[label][0], predictor)] if seeds[label] else []
        bases = map(_agreed, *beside) if beside else [None] * len(parts)
        rows.append([escaped(label), str(seeds[label] or numbers.MISSING), *map(_cell, values[label], bases)])
    return table(["Strategy", "Seeds", *(part.replace("_", " ") for part in parts)], rows, left=(0,)) + "\n"


def _agreed(*frozen: Spread | None) -> Spread | None:
    """What frozen runs of one backbone gave; None where they do not agree."""
    known = [one for one in frozen if one is not None]
    means = [one.mean for one in known]
    return known[0] if known and max(means) - min(means) < SAME else None


def _cell(value: Spread | None, frozen: Spread | None) -> str:
    if value is None or frozen is None:
        return numbers.with_interval(value)
    return f"{numbers.with_interval(value)} ({numbers.signed(value.mean - frozen.mean)})"

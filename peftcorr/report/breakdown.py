"""The tables of a breakdown, for a page of Markdown and for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from peftcorr.console import numbers
from peftcorr.metrics.aggregate import alpha_key
from peftcorr.metrics.breakdown import CURVE, Breakdown, Floats, Group
from peftcorr.metrics.presets import PEFTCORR, Preset
from peftcorr.metrics.scores import Estimate, Further
from peftcorr.report.further import measures
from peftcorr.report.pipes import escaped, table

_WIDE = 0.1  # the threshold that has its interval beside it, and the score per image


@dataclass(frozen=True)
class Sheet:
    """One table: its title, the names of its columns and its cells; the first column is text."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def sheets(found: Breakdown) -> list[Sheet]:
    """Return the tables of one predictor on one split: by factor, left and right."""
    shown = min(range(len(found.alphas)), key=lambda index: abs(found.alphas[index] - _WIDE))
    names = [f"PCK@{alpha_key(alpha)} per keypoint" for alpha in found.alphas]
    header = ("pairs", "keypoints", *names, f"PCK@{alpha_key(found.alphas[shown])} per image")
    tables = []
    for factor, groups in found.factors.items():
        title = f"by {factor}" if factor != "keypoints" else "by number of keypoints"
        rows = tuple(_row(group, shown) for group in (*groups, found.whole))
        tables.append(Sheet(title, (factor, *header), rows))
    if found.sides:
        rows = tuple(
            (s.category, f"{s.mirrored:,}", f"{s.confused:,}", f"{100 * s.confused / s.mirrored:.2f} %")
            for s in (*found.sides[1:], found.sides[0])
        )
        heading = ("category", "keypoints", "nearer to the mirrored keypoint", "share")
        tables.append(Sheet("left and right", heading, rows))
    return [*tables, *further_sheets(found.further)]


def further_sheets(found: Further) -> list[Sheet]:
    """Return the tables of what else is measured: one row a measure, and PCK by coverage."""
    rows = [
        (m.name, *(_estimate(one, m.unit) for one in (m.per_keypoint, m.per_image))) for m in measures(found)
    ]
    sheets = [Sheet("further measures", ("measure", "per keypoint", "per image"), tuple(rows))]
    if found.confidence is not None:
        cells = tuple(
            (f"{point.share:.1f} %", f"{point.similarity:.3f}", _estimate(point.pck, ""))
            for point in found.confidence.coverage
        )
        last = ("mean", "", _estimate(found.confidence.mean, ""))
        header = ("surest keypoints", "similarity at least", "PCK@0.1 per keypoint")
        sheets.append(Sheet("coverage", header, (*cells, last)))
    return sheets


def _estimate(found: Estimate | None, unit: str) -> str:
    if found is None:
        return numbers.MISSING
    value = f"{found.value:.2f}{unit}"
    return value if found.interval is None else f"{value} {numbers.limits(found.interval)}"


def brief(found: Breakdown) -> tuple[Breakdown, int]:
    """A breakdown for the terminal, and how many groups of one pair were left out: one pair says nothing of a group.

    A factor that has one value alone is left out too: its table would have the same row twice.
    """
    several = {
        factor: [group for group in groups if group.n_pairs > 1] for factor, groups in found.factors.items()
    }
    left_out = sum(len(groups) - len(several[factor]) for factor, groups in found.factors.items())
    told = {
        factor: groups
        for factor, groups in several.items()
        if groups and (len(groups) > 1 or groups[0].n_pairs < found.whole.n_pairs)
    }
    return replace(found, factors=told), left_out


def curve_sheet(found: Breakdown) -> Sheet:
    """Return PCK over the threshold as a table."""
    rows = []
    for index, alpha in enumerate(CURVE):
        scores = (_score(found.curve, found.curve_intervals, aggregate, index, True) for aggregate in (0, 1))
        rows.append((f"{alpha:g}", *scores))
    return Sheet("PCK over the threshold", ("threshold", "PCK per keypoint", "PCK per image"), tuple(rows))


def page(
    run: str,
    found: Mapping[str, Mapping[str, Breakdown]],
    figures: Mapping[str, str],
    preset: Preset = PEFTCORR,
) -> str:
    """Return the page.

    Args:
        run: what was broken down, and in a few words what it is.
        found: by split and predictor.
        figures: path of each split's curve, relative to the page.
        preset: when a keypoint is correct.
    """
    defined = "" if preset == PEFTCORR else f" A keypoint is correct as defined by {escaped(preset.name)}."
    parts = [
        f"# Breakdown of {escaped(run)}\n",
        f"Made by `peftcorr breakdown` from the saved predictions.{defined} [low, high] is a 95 % interval by a "
        "bootstrap over images; a value with fewer than four images has none. The groups of a table are not "
        "independent: they share images.\n",
    ]
    for split, predictors in found.items():
        parts.append(f"## {escaped(split)}\n")
        parts.append(
            f"![PCK over the threshold on {escaped(split)}; the numbers are below]({figures[split]})\n"
        )
        for predictor, result in predictors.items():
            for sheet in (*sheets(result), curve_sheet(result)):
                parts.append(f"### {escaped(f'{split}, {predictor}: {sheet.title}')}\n")
                if sheet.title == "left and right":
                    parts.append(f"{_LEFT_AND_RIGHT}\n")
                cells = [[escaped(row[0]), *row[1:]] for row in sheet.rows]
                parts.append(table([escaped(name) for name in sheet.header], cells, left=(0,)) + "\n")
    return "\n".join(parts)


_LEFT_AND_RIGHT = (
    "Keypoints whose mirror image is annotated in the target, and how many predictions lie nearer to it than to their "
    "own keypoint, however far from both."
)


def _row(group: Group, shown: int) -> tuple[str, ...]:
    per_keypoint = (
        _score(group.scores, group.intervals, 0, index, index == shown)
        for index in range(group.scores.shape[1])
    )
    per_image = _score(group.scores, group.intervals, 1, shown, True)
    return (group.value, f"{group.n_pairs:,}", f"{group.n_keypoints:,}", *per_keypoint, per_image)


def _score(scores: Floats, intervals: Floats | None, aggregate: int, index: int, wide: bool) -> str:
    value = f"{scores[aggregate, index]:.2f}"
    if not wide or intervals is None:
        return value
    return f"{value} {numbers.limits(intervals[aggregate, index])}"

"""What the page of the leaderboard shows of a board, as its scripts read it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from peftcorr.console.numbers import Spread
from peftcorr.errors import visible
from peftcorr.matching.conventions import PEFTCORR
from peftcorr.report.board_tables import model_name
from peftcorr.report.leaderboard import Board, Row, Section
from peftcorr.report.pairs import definition_label
from peftcorr.results.record import Record

_DECIMALS = 4


def board_title(section: Section, board: Board) -> str:
    """What is chosen by: the split and the predictor."""
    return f"{section.title}, {board.predictor}"


def board_data(section: Section, board: Board, records: Mapping[str, Record]) -> dict[str, Any]:
    """Return a board as plain values: its thresholds and categories, and its rows, best first.

    A row has PCK per keypoint by threshold as [mean, deviation, low, high], per image as a mean, both in the order of
    the thresholds, and by category at the threshold that ranks; null where it is not known. Sizes are in bytes.

    Args:
        section, board: where the rows stand.
        records: by run id.
    """
    by_category = [_categories(section, board, row, records) for row in board.rows]
    categories = sorted({name for one in by_category for name in one})
    return {
        "title": visible(board_title(section, board)),
        "note": visible(_note(section)),
        "dataset": visible(section.dataset),
        "alphas": list(board.alphas),
        "ranked": board.ranked_by,
        "categories": [visible(name) for name in categories],
        "rows": [
            _row(board, row, [_rounded(one.get(name)) for name in categories])
            for row, one in zip(board.rows, by_category, strict=True)
        ],
    }


def _note(section: Section) -> str:
    parts = [f"{section.n_pairs:,} image pairs, {section.n_keypoints:,} keypoints."]
    if definition_label(section):
        matched = (
            "" if section.convention == PEFTCORR.name else f"Matched by the convention {section.convention}. "
        )
        parts.append(
            f"{matched}Correct as the preset {section.protocol.name} defines it: not comparable with another."
        )
    if section.subset:
        parts.append("A subset of the split: not comparable with results on all of it.")
    if section.versions:
        parts.append(
            "One of several versions of the split's annotation or images: not comparable with others."
        )
    if not section.traced:
        parts.append("Measured before records had digests: nothing ties the numbers to what made them.")
    return " ".join(parts)


def _row(board: Board, row: Row, categories: list[float | None]) -> dict[str, Any]:
    return {
        "label": visible(row.label),
        "method": visible(row.strategy),
        "backbone": visible(model_name(row.backbone, row.image_size)),
        "trained": visible(row.trained_on),
        "params": row.trainable,
        "total": row.total,
        "pck": [_spread(row.per_keypoint.get(alpha)) for alpha in board.alphas],
        "image": [_mean(row.per_image.get(alpha)) for alpha in board.alphas],
        "gain": _rounded(row.gain),
        "seconds": _rounded(row.train_seconds),
        "memory": row.peak_memory,
        "bytes": row.adapter_bytes,
        "seeds": len(row.seeds),
        "runs": list(row.run_ids),
        "categories": categories,
    }


def _categories(section: Section, board: Board, row: Row, records: Mapping[str, Record]) -> dict[str, float]:
    """PCK per keypoint of each category at the threshold that ranks, mean over the runs that the row's PCK is of."""
    found: dict[str, list[float]] = {}
    for run_id in row.scored:
        scores = records[run_id].scores[section.dataset][board.predictor]
        for name, category in scores.per_category.items():
            if board.ranked_by in category.per_keypoint:
                found.setdefault(name, []).append(category.per_keypoint[board.ranked_by])
    return {name: statistics.fmean(values) for name, values in found.items()}


def _spread(value: Spread | None) -> list[float | None]:
    if value is None:
        return [None] * 4
    low, high = value.interval or (None, None)
    return [_rounded(number) for number in (value.mean, value.sd, low, high)]


def _mean(value: Spread | None) -> float | None:
    return None if value is None else _rounded(value.mean)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)

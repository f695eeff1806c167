"""How far one record is from another, by interval and by digit."""

from __future__ import annotations

from pathlib import Path

import pytest

from peftcorr.results.record import Record
from peftcorr.results.reproduction import Distance, distances, same_files
from peftcorr.results.store import read_record

LORA = Path(__file__).parents[2] / "leaderboard" / "records" / "05c4b032c1519365.json"


@pytest.fixture
def record() -> Record:
    return read_record(LORA)


def test_every_score_is_compared_with_its_own(record: Record) -> None:
    rows = distances(record, record)
    assert len(rows) == 2 * 4 * 3  # predictors, aggregates, thresholds
    assert all(row.same and row.inside for row in rows)
    assert same_files(record, record)
    [one] = [
        row for row in rows if (row.predictor, row.aggregate, row.alpha) == ("argmax", "per_keypoint", "0.1")
    ]
    scores = record.scores["synthetic/test"]["argmax"]
    assert scores.intervals is not None
    assert (one.recorded, one.interval) == (
        scores.per_keypoint["0.1"],
        scores.intervals["per_keypoint"]["0.1"],
    )


def test_what_is_not_there_is_not_the_same(record: Record) -> None:
    [where] = record.scores
    fewer = record.model_copy(update={"scores": {where: {"argmax": record.scores[where]["argmax"]}}})
    rows = distances(record, fewer)
    assert [row.found is None for row in rows] == [False] * 12 + [True] * 12
    assert [row.inside for row in rows] == [True] * 12 + [False] * 12


@pytest.mark.parametrize(
    ("found", "interval", "same", "inside", "decimals"),
    [
        (40.123456, (39.0, 41.0), True, True, 12),
        (40.123, (39.0, 41.0), False, True, 3),
        (40.13, (39.0, 41.0), False, True, 1),
        (41.0, (39.0, 41.0), False, True, 0),
        (41.01, (39.0, 41.0), False, False, 0),
        (40.123, None, False, False, 3),
        (40.123456, None, True, True, 12),
        (None, (39.0, 41.0), False, False, 0),
    ],
)
def test_by_interval_and_digit(
    found: float | None, interval: tuple[float, float] | None, same: bool, inside: bool, decimals: int
) -> None:
    row = Distance("pairs/test", "argmax", "per_keypoint", "0.1", 40.123456, found, interval)
    assert (row.same, row.inside, row.decimals) == (same, inside, decimals)

"""Predictions that were changed since their run wrote them give no interval and no difference anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.metrics.aggregate import score_predictions
from peftcorr.report.leaderboard import build_leaderboard
from peftcorr.report.paired import rows_of
from peftcorr.report.site.differences import paired_differences
from peftcorr.results.identity import run_id
from peftcorr.results.store import Store
from tests.metrics.made import drawn, table, written
from tests.report.test_summary import printed

SPLIT = ("farm/test", "argmax")


@pytest.fixture
def paths(store: Store, make_record: Any) -> list[Path]:
    """Predictions of a frozen run and of a trained one, whose digests are in their records."""
    found = []
    for seed, kind in enumerate(("frozen", "lora")):
        rows = drawn(seed, {"cat": 5, "dog": 5})
        by_split = score_predictions(table(rows), [0.05, 0.1, 0.2])
        scores = {
            split: {name: one.model_dump() for name, one in by.items()} for split, by in by_split.items()
        }
        record = make_record(kind, kind, trainable=10 * seed, scores=scores, schema_version=2)
        named = run_id(record.recipe, {})
        found.append(written(rows, store.root, named))
        store.write(record.model_copy(update={"run_id": named, "files": store.file_digest(found[-1])}))
    return found


@pytest.mark.parametrize("changed", [0, 1])
def test_changed_predictions_are_not_compared(store: Store, paths: list[Path], changed: int) -> None:
    trained = paths[1].stem
    assert [len(one) for one in paired_differences(build_leaderboard(store.records()), store).values()] == [1]
    assert "gain, 95 %" in printed(store, trained)

    # A sound file of as many keypoints, but not the one that the record's scores were made from.
    written(drawn(7, {"cat": 5, "dog": 5}), store.root, paths[changed].stem)
    with pytest.raises(PeftCorrError, match="was changed since the run"):
        rows_of(paths[changed], *SPLIT)
    assert rows_of(paths[1 - changed], *SPLIT).num_rows > 0
    assert paired_differences(build_leaderboard(store.records()), store) == {}
    text = printed(store, trained)
    assert "gain" in text, "which the records alone tell"
    assert "gain, 95 %" not in text

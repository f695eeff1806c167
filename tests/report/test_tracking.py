"""The small table of point tracking beneath a board."""

from __future__ import annotations

from typing import Any

import pytest

from peftcorr.report.leaderboard import build_leaderboard
from peftcorr.report.markdown import render
from peftcorr.results.record import Record

DATASET = "tapvid_davis-first/test"


def tracking(
    delta: float, jaccard: float, threshold: float = 0.5, chosen: str = "fixed", pairs: int = 900
) -> Any:
    scores = {
        "delta_avg": delta, "occlusion_accuracy": 80.0, "average_jaccard": jaccard, "delta": {"1": delta},
        "jaccard": {"1": jaccard}, "per_video": {}, "occlusion_threshold": threshold, "threshold_chosen": chosen,
        "n_pairs": pairs, "n_points": 9000, "n_visible": 8000,
    }  # fmt: skip
    return {DATASET: {"argmax": scores}}


@pytest.fixture
def make(make_record: Any, make_scores: Any) -> Any:
    def record(run_id: str, strategy: str, tracks: Any, pck: float = 50.0, **change: Any) -> Record:
        scores = {DATASET: {"argmax": make_scores(pck, 900)}}
        made: Record = make_record(run_id, strategy, scores=scores, tracking=tracks, **change)
        return made

    return record


def tracking_rows(page: str) -> list[list[str]]:
    lines = page.splitlines()
    start = next(index for index, line in enumerate(lines) if "| AJ |" in line) + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_rows_are_ranked_by_jaccard_and_averaged_over_seeds(make: Any) -> None:
    records = [
        make("a", "frozen", tracking(30.0, 12.0), 20.0, trainable=0),
        make("b", "lora", tracking(40.0, 20.0), seed=0),
        make("c", "lora", tracking(44.0, 22.0), 51.0, seed=1),
        make("d", "adapter", tracking(50.0, 11.0), 70.0),
    ]
    rows = tracking_rows(render(build_leaderboard(records), {}))
    assert [row[0] for row in rows] == ["lora", "frozen", "adapter"]
    assert rows[0][3:] == ["42.00 ± 2.83", "**80.00 ± 0.00**", "**21.00 ± 1.41**", "0.5 (fixed)", "2"]
    assert rows[1][3:] == ["30.00", "**80.00**", "12.00", "0.5 (fixed)", "-"]
    assert rows[2][3] == "**50.00**"


def test_thresholds_of_one_model_are_rows_of_their_own(make: Any) -> None:
    records = [
        make("a", "frozen", tracking(30.0, 12.0), trainable=0),
        make("b", "frozen", tracking(30.0, 14.0, 0.6), trainable=0),
        make("c", "frozen", tracking(30.0, 15.0, 0.6, "val"), trainable=0),
        make("d", "frozen", tracking(30.0, 14.0, 0.6), trainable=0),
    ]
    leaderboard = build_leaderboard(records)
    assert len(leaderboard.sections[0].boards[0].rows) == 1
    rows = tracking_rows(render(leaderboard, {}))
    assert [(row[5], row[6]) for row in rows] == [
        ("**15.00**", "0.6 (chosen on val)"), ("14.00", "0.6 (fixed)"), ("12.00", "0.5 (fixed)"),
    ]  # fmt: skip


def test_other_datasets_have_no_such_table(make_record: Any) -> None:
    record = make_record("a")
    assert "| AJ |" not in render(build_leaderboard([record]), {})
    assert "tracking" not in record.model_dump_json(), "records without tracks look as they always did"


def test_a_run_is_no_subset_for_pairs_that_show_nothing(make: Any) -> None:
    """The limit was 950 pairs, of which 900 show a point: the rest of the split is not known to be scored."""
    [section] = build_leaderboard([make("a", "lora", tracking(1, 1, pairs=950), limit_pairs=950)]).sections
    assert section.subset
    [section] = build_leaderboard([make("a", "lora", tracking(1, 1, pairs=940), limit_pairs=950)]).sections
    assert not section.subset

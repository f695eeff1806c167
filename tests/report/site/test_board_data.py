"""What a board's page is given, beside its rows."""

from __future__ import annotations

from typing import Any

from peftcorr.report.leaderboard import build_leaderboard
from peftcorr.report.site.board_data import board_data


def test_a_category_is_the_mean_of_the_runs_that_the_row_is_of(make_record: Any, make_scores: Any) -> None:
    """One a seed: a seed that was run again, asked for more, does not count twice."""
    more = {
        "synthetic/test": {"argmax": make_scores(50.0, 900)},
        "farm/test": {"argmax": make_scores(20.0, 90)},
    }
    records = [
        make_record("a", pck=50.0),
        make_record("b", scores=more, recipe={"eval_on": [{"name": "farm"}]}),
        make_record("c", pck=56.0, seed=1),
    ]
    leaderboard = build_leaderboard(records)
    section = leaderboard.sections[-1]
    [row] = board_data(section, section.boards[0], {one.run_id: one for one in records})["rows"]
    assert row["runs"] == ["a", "b", "c"]
    assert (row["pck"][1][0], row["categories"]) == (53.0, [53.0])

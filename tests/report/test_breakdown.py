"""What of a breakdown the terminal leaves to the page."""

from __future__ import annotations

from peftcorr.metrics.breakdown import breakdown
from peftcorr.report.breakdown import brief, sheets
from tests.metrics.made import row, table


def test_groups_of_one_pair_and_tables_of_one_group_are_left_out() -> None:
    rows = [
        row(pair=number, pair_id=str(number), viewpoint_variation=grade, truncation=0, category=category)
        for number, (grade, category) in enumerate(
            [(0, "cat"), (0, "cat"), (1, "cat"), (2, "dog"), (2, "dog")]
        )
    ]
    whole = breakdown("farm", table(rows), [0.1])
    assert list(whole.factors) == ["category", "viewpoint", "truncation", "keypoints"]
    told, left_out = brief(whole)
    assert {factor: [group.value for group in groups] for factor, groups in told.factors.items()} == {
        "category": ["cat", "dog"],
        "viewpoint": ["easy", "hard"],  # medium is one pair
    }
    assert left_out == 1
    assert [sheet.title for sheet in sheets(whole)][-3:] == [
        "by truncation",
        "by number of keypoints",
        "further measures",
    ]

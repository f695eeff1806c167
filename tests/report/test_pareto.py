from __future__ import annotations

from peftcorr.report.pareto import pareto_front


def test_hand_made_front() -> None:
    """The better of two equal sizes is on it, and of the larger ones only what improves."""
    assert pareto_front([0, 10, 10, 20, 30, 40], [20.0, 35.0, 50.0, 50.0, 70.0, 60.0]) == [
        True,
        False,
        True,
        False,
        True,
        False,
    ]


def test_equal_runs_are_both_on_the_front_and_order_does_not_matter() -> None:
    assert pareto_front([5, 5, 1], [9.0, 9.0, 3.0]) == [True, True, True]
    assert pareto_front([40, 0, 10], [60.0, 70.0, 50.0]) == [False, True, False]


def test_a_missing_number_is_not_on_the_front_and_beats_nobody() -> None:
    assert pareto_front([None, 3, 1], [99.0, None, 5.0]) == [False, False, True]
    assert pareto_front([], []) == []

"""How numbers are written."""

from __future__ import annotations

import pytest

from peftcorr.console import numbers


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "-"), (0, "-"), (7, "7 B"), (999, "999 B"), (1000, "1.0 kB"), (150_496, "150.5 kB"),
        (1_000_000, "1.0 MB"), (623_400_000, "623.4 MB"), (1_234_000_000, "1.23 GB"),
    ],
)  # fmt: skip
def test_nothing_that_takes_room_is_written_as_none(amount: int | None, text: str) -> None:
    assert numbers.memory(amount) == text


@pytest.mark.parametrize(
    ("points", "text"),
    [(-0.004, "+0.00"), (0.0, "+0.00"), (-0.0, "+0.00"), (-0.006, "-0.01"), (1.234, "+1.23")],
)
def test_what_rounds_to_nothing_has_no_minus(points: float, text: str) -> None:
    assert numbers.signed(points) == text


def test_nor_have_limits() -> None:
    assert numbers.limits((-0.04, 0.04)) == "[0.0, 0.0]"
    assert numbers.limits((-1.26, 3)) == "[-1.3, 3.0]"


def test_mean_deviation_and_interval_stand_together() -> None:
    assert numbers.with_interval(numbers.Spread(71.883, 0.312, (70.06, 73.51))) == "71.88 ± 0.31 [70.1, 73.5]"
    assert numbers.with_interval(numbers.Spread(71.883, None, (70.06, 73.51))) == "71.88 [70.1, 73.5]"
    assert numbers.with_interval(numbers.Spread(71.883, 0.312)) == "71.88 ± 0.31"

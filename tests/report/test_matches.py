"""Which pairs are shown, in what order, and what is said of each."""

from __future__ import annotations

import math

import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.metrics.compare import aligned
from peftcorr.metrics.presets import PEFTCORR
from peftcorr.report.matches import Matches
from tests.metrics.made import Row, row, table


def pair(number: int, offsets: list[float], category: str = "cat", **change: object) -> list[Row]:
    """A pair whose keypoints are off by so many pixels, of which 10 are right."""
    return [
        row(
            pair=number, pair_id=f"pair {number}", category=category, source_image=f"{number}a.jpg",
            target_image=f"{number}b.jpg", keypoint_id=f"k{place}", truth_x=50.0 + 100 * place,
            prediction_x=50.0 + 100 * place + offset, **change,
        )
        for place, offset in enumerate(offsets)
    ]  # fmt: skip


def matches(*pairs: list[Row]) -> Matches:
    return Matches("farm", table([one for rows in pairs for one in rows]), 0.1, PEFTCORR)


def ids(found: Matches, numbers: list[int]) -> list[str]:
    return [found.pair(number).pair_id for number in numbers]


def test_the_worst_come_first_by_share_then_by_error() -> None:
    found = matches(
        pair(0, [0, 0, 50]),
        pair(1, [50, 0]),
        pair(2, [40, 40], "dog"),
        pair(3, [90, 90]),
        pair(4, [0]),
        pair(5, [99], target_occluded=True),
    )
    assert ids(found, found.worst()) == ["pair 3", "pair 2", "pair 1", "pair 0", "pair 4"]
    assert ids(found, found.worst("dog")) == ["pair 2"]
    assert ids(found, [found.best()]) == ["pair 4"]
    assert len(found) == 6


def test_the_order_of_the_rows_does_not_matter() -> None:
    pairs = [pair(number, [10.0 * number, 30.0]) for number in range(4)]
    one, other = matches(*pairs), matches(*reversed(pairs))
    assert ids(one, one.worst()) == ids(other, other.worst())


def test_keypoints_of_a_pair_come_worst_first_and_hidden_ones_last() -> None:
    rows = [*pair(0, [5, 60, 20]), {**pair(0, [0, 0, 0, 70])[3], "target_occluded": True}]
    shown = matches(rows).pair(0)
    assert [keypoint.name for keypoint in shown.keypoints] == ["k1", "k2", "k0", "k3"]
    assert shown.counts() == {"right": 1, "wrong": 2, "hidden": 1}
    first, last = shown.keypoints[0], shown.keypoints[-1]
    assert (first.error, first.mark.truth, first.mark.reach) == (0.6, (150.0, 50.0), (10.0, 10.0))
    assert first.mark.prediction == (210.0, 50.0)
    assert math.isnan(last.error)
    assert (last.mark.truth, last.mark.reach) == (None, None)
    assert math.isnan(first.similarity), "older files do not tell"


def test_what_one_run_has_right_and_the_other_has_not() -> None:
    ours = [pair(0, [0, 0, 50]), pair(1, [0, 0, 0]), pair(2, [50]), pair(3, [0, 50])]
    theirs = [pair(0, [0, 50, 0]), pair(1, [50, 50, 0]), pair(2, [0]), pair(3, [50, 50], "cat")]
    flat = [table([one for rows in run for one in rows]) for run in (ours, theirs)]
    a, b = (Matches("farm", rows, 0.1, PEFTCORR) for rows in aligned("farm/test", ("A", "B"), *flat))
    assert ids(a, a.ahead(b)) == ["pair 1", "pair 3"]  # pair 0 is even
    assert ids(a, b.ahead(a)) == ["pair 2"]
    differs = a.right != b.right
    assert [keypoint.name for keypoint in a.pair(0, differs).keypoints] == ["k2", "k1"]
    assert a.ahead(b, "cat") == a.ahead(b)


def test_unknown_names_are_refused() -> None:
    found = matches(pair(0, [0]), pair(1, [0], "dog"))
    assert ids(found, found.named(["pair 1", "pair 0"])) == ["pair 1", "pair 0"]
    with pytest.raises(PeftCorrError, match=r"no pair 'pair 11' here\. Did you mean 'pair 1'"):
        found.named(["pair 11"])
    with pytest.raises(PeftCorrError, match=r"no category 'cats' here\. Did you mean 'cat'"):
        found.worst("cats")

"""Pairs counted by hand: what is correct, and which images there are."""

from __future__ import annotations

import numpy as np
import pytest

from peftcorr.metrics.pair_scores import PairScores, pair_numbers, pair_scores
from tests.metrics.made import row, table


def pair(number: int, category: str, source: str, target: str, *off: float) -> list[dict[str, object]]:
    """Keypoints whose predictions are `off` by so many pixels of a length of 100."""
    return [
        row(
            pair=number, pair_id=f"{number:02d}", category=category, source_image=source, target_image=target,
            keypoint_id=str(k), prediction_x=50.0 + distance,
        )
        for k, distance in enumerate(off)
    ]  # fmt: skip


@pytest.fixture
def pairs() -> PairScores:
    """Two categories whose files have the same names; rows in no order."""
    rows = [
        *pair(0, "dog", "b.jpg", "a.jpg", 4, 6, 30), *pair(1, "cat", "a.jpg", "b.jpg", 10),
        *pair(2, "dog", "a.jpg", "b.jpg", 5, 5.01), *pair(3, "cat", "b.jpg", "c.jpg", 0, 20),
        *pair(4, "cow", "c.jpg", "b.jpg", 10.01),
    ]  # fmt: skip
    return pair_scores(table(rows[::-1]), [0.05, 0.1])


def test_correct_keypoints_of_each_pair(pairs: PairScores) -> None:
    """Sorted by category, source and target: 1 and 3 of the cat, 4 of the cow, 2 and 0 of the dog."""
    assert pairs.categories == ("cat", "cow", "dog")
    assert pairs.category.tolist() == [0, 0, 1, 2, 2]
    assert pairs.keypoints.tolist() == [1, 2, 1, 2, 3]
    assert pairs.correct.tolist() == [[0, 1, 0, 1, 1], [1, 1, 0, 2, 2]]
    assert pairs.first.tolist() == [0, 2, 3, 5]
    assert len(pairs) == 5


def test_a_file_of_two_categories_is_two_images(pairs: PairScores) -> None:
    """Cat a b c, cow b c, dog a b."""
    assert pairs.images == 7
    assert pairs.source.tolist() == [0, 1, 4, 5, 6]
    assert pairs.target.tolist() == [1, 2, 3, 6, 5]
    assert pairs.category_of_image.tolist() == [0, 0, 0, 1, 1, 2, 2]


def test_a_part_has_its_own_images_and_categories(pairs: PairScores) -> None:
    part = pairs.subset(np.array([False, True, False, True, True]))
    assert (part.categories, part.category.tolist()) == (("cat", "dog"), [0, 1, 1])
    assert (part.images, part.source.tolist(), part.target.tolist()) == (4, [0, 2, 3], [1, 3, 2])
    assert part.keypoints.tolist() == [2, 2, 3]
    assert part.correct.tolist() == [[1, 1, 1], [1, 2, 2]]
    assert part.alphas == pairs.alphas


def test_the_first_row_of_each_pair_in_order() -> None:
    rows = [
        *pair(7, "dog", "a.jpg", "b.jpg", 0, 0),
        *pair(3, "cat", "a.jpg", "b.jpg", 0),
        *pair(5, "cat", "a.jpg", "a.jpg", 0),
    ]
    first, of = pair_numbers(table(rows))
    assert first.tolist() == [3, 2, 0]
    assert of.tolist() == [2, 2, 1, 0]

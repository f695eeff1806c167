from __future__ import annotations

import tracemalloc
from collections import Counter
from dataclasses import replace

import numpy as np

from peftcorr.data.layouts.instance import Instance
from peftcorr.data.layouts.pair_draw import sharing, shuffled, some, stream

FIRST = [4640337641838304680, 1007523778219856791, 4510604748868626045]


def instance(*names: str) -> Instance:
    places = dict.fromkeys(names, (1.0, 2.0))
    return Instance("a.jpg", 1, (60, 40), "cat", "animal", (0.0, 0.0, 9.0, 9.0), 81.0, False, places)


def test_the_bits_are_the_same_for_ever() -> None:
    """Pair lists of records made elsewhere or years ago must come out again."""
    assert stream(0, "test", "cat").random_raw(3).tolist() == FIRST
    assert stream(0, "test", "cat").random_raw(3).tolist() != stream(1, "test", "cat").random_raw(3).tolist()
    assert stream(0, "test", "cat").random_raw(3).tolist() != stream(0, "testcat").random_raw(3).tolist()


def test_some_takes_each_as_often_and_keeps_the_order() -> None:
    taken = np.zeros(6)
    for seed in range(600):
        chosen = some(6, 2, stream(seed))
        assert len(chosen) == 2
        assert chosen[0] < chosen[1]
        taken[chosen] += 1
    assert np.all(np.abs(taken - 200) < 5 * np.sqrt(600 * (1 / 3) * (2 / 3)))
    assert some(4, None, stream(0)).tolist() == some(4, 9, stream(0)).tolist() == [0, 1, 2, 3]


def test_pairs_share_keypoints_by_name() -> None:
    first = [instance("a", "b", "c"), instance("a"), instance("c", "b")]
    second = [instance("c", "b", "d"), instance()]
    assert sharing(first, second, 2).tolist() == [[0, 0], [2, 0]]
    assert sharing(first, second, 1).tolist() == [[0, 0], [2, 0]]
    assert sharing(first, first, 1).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [2, 0], [2, 2]]
    assert sharing([], second, 1).tolist() == []
    assert sharing([instance()], [instance()], 1).tolist() == []


def test_what_is_hidden_counts_for_less_on_each_side() -> None:
    clear = instance("a", "b", "c", "d")
    one, two = (replace(clear, hidden=frozenset(names)) for names in ("a", "ab"))
    for first, second, least, most in ((clear, one, 3.5, 4), (one, one, 3.25, 4), (clear, two, 3, 3.5)):
        for shared in (least, most):
            found = sharing([first], [second], shared, 0.5)  # type: ignore[arg-type]
            assert found.tolist() == ([[0, 0]] if shared == least else [])
    assert sharing([two], [two], 4).tolist() == [[0, 0]]


def test_names_that_no_two_share_take_no_room() -> None:
    """With a column for each of 40,000 names this would be 320 MB."""
    many = [instance(*(f"{number}-{name}" for name in range(20))) for number in range(2000)]
    tracemalloc.start()
    assert sharing(many, many, 1).tolist() == [[number, number] for number in range(2000)]
    assert tracemalloc.get_traced_memory()[1] < 120e6
    tracemalloc.stop()


def test_each_order_is_as_likely() -> None:
    firsts = Counter(shuffled("abc", stream(seed))[0] for seed in range(600))
    assert all(abs(firsts[letter] - 200) < 60 for letter in "abc")
    assert sorted(shuffled("abc", stream(0))) == list("abc")
    assert shuffled([], stream(3)) == []

from __future__ import annotations

import numpy as np

from peftcorr.data.layouts.coco_annotation import Instance
from peftcorr.data.layouts.pair_draw import sharing, some, stream, turned

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


def test_about_half_of_the_pairs_are_turned() -> None:
    pairs = [(n, -n) for n in range(1, 1001)]
    got = turned(pairs, stream(3))
    assert [abs(source) for source, _ in got] == [source for source, _ in pairs]
    assert 400 < sum(source < 0 for source, _ in got) < 600
    assert turned([], stream(3)) == []


def test_the_coins_are_the_same_for_ever() -> None:
    """Each is the highest bit of a word."""
    words = stream(3).random_raw(64).tolist()
    got = turned([(n, -n) for n in range(1, 65)], stream(3))
    assert [source < 0 for source, _ in got] == [word >= 2**63 for word in words]
    assert [source for source, _ in got[8:14]] == [-9, 10, -11, 12, 13, -14]

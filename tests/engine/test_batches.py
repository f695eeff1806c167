"""Which correspondences a step supervises: as listed, each in its place, and the same whenever it is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from peftcorr.data.correspondences import Correspondences
from peftcorr.engine.batches import Batch, CliqueSampler, PairSampler
from tests.engine.building import load_split


@pytest.fixture
def data(photographs: Path, tmp_path: Path) -> Correspondences:
    return load_split(photographs, tmp_path).data


Keypoint = tuple[int, int, float, float, float, float]


def listed(data: Correspondences, pairs: np.ndarray | None = None) -> Counter[Keypoint]:
    """Every correspondence of the annotation (of some pairs alone): source, target and both points."""
    rows = np.arange(len(data)) if pairs is None else np.flatnonzero(np.isin(data.pair, pairs))
    return Counter(
        (int(data.source[pair]), int(data.target[pair]), *data.source_points[row], *data.target_points[row])
        for row, pair in zip(rows, data.pair[rows], strict=True)
    )


def supervised(batch: Batch) -> Counter[Keypoint]:
    """The same of a batch."""
    source, target = batch.images[batch.query_slot], batch.images[batch.target_slot]
    return Counter(
        (int(s), int(t), *q, *p)
        for s, t, q, p in zip(source, target, batch.query_points, batch.truth, strict=True)
    )


def same(one: Batch, other: Batch) -> bool:
    names = ("images", "query_slot", "target_slot", "query_points", "truth")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


@pytest.mark.parametrize("kind", [CliqueSampler, PairSampler])
def test_a_batch_depends_on_seed_and_step_alone(
    data: Correspondences, kind: type[CliqueSampler] | type[PairSampler]
) -> None:
    """Whatever was drawn before, so that a resumed training draws what an unbroken one would."""
    straight, skipping = kind(data, 3, seed=5), kind(data, 3, seed=5)
    drawn = [straight.batch(step) for step in range(9)]
    for step in (8, 0, 4, 8, 7):
        assert same(skipping.batch(step), drawn[step])
    other = kind(data, 3, seed=6)
    assert not all(same(other.batch(step), drawn[step]) for step in range(9))
    assert not all(same(drawn[step], drawn[0]) for step in range(9))


def test_a_clique_is_every_ordered_pair_of_its_images_that_shares_keypoints(data: Correspondences) -> None:
    """The small folder lists all ordered pairs, so a clique of it is the list itself, restricted."""
    sampler = CliqueSampler(data, 3, seed=0)
    for step in range(20):
        batch = sampler.batch(step)
        assert len(set(batch.images.tolist())) == 3
        assert len({data.categories[image] for image in batch.images}) == 1
        of_it = np.isin(data.source, batch.images) & np.isin(data.target, batch.images)
        assert supervised(batch) == listed(data, np.flatnonzero(of_it))
        assert batch.pairs() == of_it.sum() <= len(list(permutations(range(3), 2)))


def test_a_clique_larger_than_the_category_takes_it_whole(data: Correspondences) -> None:
    batch = CliqueSampler(data, 50, seed=0).batch(0)
    assert len(batch.images) == 4


def test_cliques_pair_images_that_the_list_does_not(photographs: Path, tmp_path: Path) -> None:
    """Two listed pairs (a, b) and (b, c) supervise (a, c) too, where a and c show the same landmark."""
    whole = load_split(photographs, tmp_path).data
    data = of_pairs(whole, lambda source, target: {source, target} in ({0, 1}, {1, 2}))
    sampler = CliqueSampler(data, 3, seed=0)
    found = set().union(*(supervised(sampler.batch(step)) for step in range(10)))
    assert {(s, t) for s, t, *_ in found} >= {(0, 2), (2, 0)}
    assert found <= set(listed(whole))


def test_categories_and_images_are_drawn_as_often_as_the_list_uses_them(data: Correspondences) -> None:
    sampler = CliqueSampler(data, 2, seed=0)
    drawn = Counter(image for step in range(600) for image in sampler.batch(step).images.tolist())
    for category in set(data.categories):
        members = [image for image, name in enumerate(data.categories) if name == category]
        share = np.mean([data.categories[source] == category for source in data.source])
        assert sum(drawn[image] for image in members) / 1200 == pytest.approx(share, abs=0.06)
        assert min(drawn[image] for image in members) > 60


def test_a_category_and_an_image_of_few_pairs_are_drawn_seldom() -> None:
    """Six pairs of three birds; of four cars three, all from the first, which is in as many as all others together."""
    pairs = [*permutations(range(3), 2), (3, 4), (3, 5), (3, 6)]
    source, target = np.array(pairs).T
    places = np.stack([np.arange(7.0), np.zeros(7)], axis=1)  # of one keypoint, which every image shows
    data = Correspondences(
        images=[f"{number}.jpg" for number in range(7)],
        categories=["bird"] * 3 + ["car"] * 4,
        sizes=[[9, 9]] * 7,
        source=source,
        target=target,
        reference_length=np.ones(9),
        pair=np.arange(9, dtype=np.int32),
        source_points=places[source],
        target_points=places[target],
        keypoint=np.zeros(9, dtype=np.int32),
        keypoint_names=["0"],
        pair_ids=pa.array(map(str, range(9))),
    )
    sampler = CliqueSampler(data, 2, seed=0)
    batches = [sampler.batch(step).images.tolist() for step in range(1500)]
    of_cars = [batch for batch in batches if batch[0] >= 3]
    assert len(of_cars) / 1500 == pytest.approx(3 / 9, abs=0.035)
    # A half at the first draw; after another car, which is not drawn twice, three fifths: 1/2 + 1/2 * 3/5.
    assert np.mean([3 in batch for batch in of_cars]) == pytest.approx(0.8, abs=0.05)


def of_pairs(whole: Correspondences, keep: Callable[[int, int], bool]) -> Correspondences:
    """Some pairs alone."""
    ends = zip(whole.source.tolist(), whole.target.tolist(), strict=True)
    pairs = [number for number, (source, target) in enumerate(ends) if keep(source, target)]
    rows = np.isin(whole.pair, pairs)
    return replace(
        whole,
        source=whole.source[pairs],
        target=whole.target[pairs],
        reference_length=whole.reference_length[pairs],
        pair=np.searchsorted(pairs, whole.pair[rows]),
        source_points=whole.source_points[rows],
        target_points=whole.target_points[rows],
        keypoint=whole.keypoint[rows],
        pair_ids=whole.pair_ids.take(pa.array(pairs)),
        factors={},
        source_box=None if whole.source_box is None else whole.source_box[pairs],
        target_box=None if whole.target_box is None else whole.target_box[pairs],
    )


@pytest.mark.parametrize("count", [3, 8])
def test_pairs_come_once_an_epoch_in_a_new_order(data: Correspondences, count: int) -> None:
    total = len(data.source)
    sampler = PairSampler(data, count, seed=0)
    positions: list[int] = []
    for step in range(-(-3 * total // count)):
        positions += pairs_in_order(sampler.batch(step), data)
    epochs = [positions[epoch * total : (epoch + 1) * total] for epoch in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(total))
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != list(range(total))


def pairs_in_order(batch: Batch, data: Correspondences) -> list[int]:
    """Numbers of a batch's pairs; a pair of the small folder is known by its two images."""
    number = {
        (int(s), int(t)): pair for pair, (s, t) in enumerate(zip(data.source, data.target, strict=True))
    }
    order: list[int] = []
    left = 0
    slots = list(zip(batch.images[batch.query_slot], batch.images[batch.target_slot], strict=True))
    while left < len(slots):
        pair = number[int(slots[left][0]), int(slots[left][1])]
        order.append(pair)
        left += int((data.pair == pair).sum())
    return order


def test_pair_batches_encode_an_image_once(data: Correspondences) -> None:
    sampler = PairSampler(data, 6, seed=0)
    for step in range(5):
        batch = sampler.batch(step)
        assert len(set(batch.images.tolist())) == len(batch.images) <= 12
        assert set(supervised(batch)) <= set(listed(data))

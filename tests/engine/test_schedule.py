"""The order of encoding and matching, on graphs of pairs of every shape, against a simulation of what is held."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest

from peftcorr.data.correspondences import Correspondences
from peftcorr.engine.schedule import schedule


def made(pairs: list[tuple[int, int]], images: int, keypoints: int = 3) -> Correspondences:
    """Pairs among `images` images, each with the same landmarks, so that queries repeat from pair to pair."""
    points = np.random.default_rng(0).uniform(0, 50, (images, keypoints, 2))
    source, target = (np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
    return Correspondences(
        images=[f"{number:03d}.png" for number in range(images)],
        categories=["thing"] * images,
        sizes=[[]] * images,
        source=source,
        target=target,
        reference_length=np.ones(len(pairs)),
        pair=np.repeat(np.arange(len(pairs)), keypoints),
        source_points=points[source].reshape(-1, 2),
        target_points=points[target].reshape(-1, 2),
        keypoint=np.tile(np.arange(keypoints), len(pairs)),
        keypoint_names=[str(keypoint) for keypoint in range(keypoints)],
        pair_ids=pa.array([str(pair) for pair in range(len(pairs))]),
    )


def complete(images: int, first: int = 0) -> list[tuple[int, int]]:
    return list(itertools.permutations(range(first, first + images), 2))


GRAPHS = {
    "complete": (complete(12), 12),
    "two categories": (complete(7) + complete(6, 7), 13),
    "separate pairs": ([(2 * k, 2 * k + 1) for k in range(20)], 40),
    "chain": ([(k, k + 1) for k in range(30)], 31),
    "shuffled chain": ([((7 * k) % 31, (7 * k + 7) % 31) for k in range(30)], 31),
    "one target": ([(k, 20) for k in range(20)], 21),
    "one source": ([(0, k) for k in range(1, 21)], 21),
    "one pair": ([(0, 1)], 2),
}


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", GRAPHS)
def test_everything_is_there_when_it_is_needed(name: str, batch: int, processes: int) -> None:
    pairs, images = GRAPHS[name]
    data = made(pairs, images)
    plans = [schedule(data, batch, process, processes) for process in range(processes)]
    encoded = np.concatenate([window for plan in plans for window in plan.windows])
    assert sorted(encoded) == list(range(images))
    assert sorted(np.concatenate([plan.rows for plan in plans])) == list(range(len(data)))
    assert len({len(plan.windows) for plan in plans}) == 1
    for plan in plans:
        held: set[int] = set()
        most, needless, matched = 0, 0, []
        for window, (new, targets) in enumerate(zip(plan.windows, plan.targets, strict=True)):
            assert len(new) <= batch
            waiting = {image for image in new if plan.waits[image]}
            held |= waiting
            most = max(most, len(held))
            for target in targets:
                assert target in held or target in new
                rows = plan.rows[plan.first_row[target] : plan.first_row[target] + plan.count[target]]
                matched += rows.tolist()
                assert (data.target[data.pair[rows]] == target).all()
                query = plan.queries.of[rows]
                assert query.min() >= needless
                assert query.max() < plan.queries.start[window + 1]
                held.discard(target)
            needless = int(plan.queries.needless[window])
        assert not held
        assert matched == plan.rows.tolist()
        assert needless == len(plan.queries.image)
        assert plan.most_waiting == most
    queries = plans[0].queries
    np.testing.assert_array_equal(queries.points[queries.of], data.source_points)
    np.testing.assert_array_equal(queries.image[queries.of], data.source[data.pair])


def test_queries_are_kept_once_however_many_pairs_ask_for_them() -> None:
    plan = schedule(made(complete(12), 12), 4)
    assert len(plan.queries.image) == 12 * 3


@pytest.mark.parametrize("chunk", [1, 7, 12 * 11 * 3])
def test_a_query_is_one_however_the_correspondences_are_cut_up(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = made(complete(12), 12)
    whole = schedule(data, 4).queries
    monkeypatch.setattr("peftcorr.engine.schedule._CHUNK", chunk)
    cut = schedule(data, 4).queries
    for name in ("image", "points", "of", "start", "needless"):
        np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name))


@pytest.mark.parametrize(
    ("name", "most"), [("separate pairs", 4), ("chain", 4), ("shuffled chain", 4), ("one source", 4)]
)
def test_few_maps_wait_where_pairs_allow_it(name: str, most: int) -> None:
    assert schedule(made(*GRAPHS[name]), 4).most_waiting <= most


def test_images_that_are_no_target_never_wait() -> None:
    data = made(*GRAPHS["one target"])
    assert not schedule(data, 4).waits[:20].any()


def test_a_category_waits_without_the_others() -> None:
    assert schedule(made(*GRAPHS["two categories"]), 1).most_waiting <= 7


def test_three_times_the_pairs_hold_no_more() -> None:
    pairs, images = GRAPHS["two categories"]
    once, thrice = schedule(made(pairs, images), 4), schedule(made(pairs * 3, images), 4)
    assert thrice.most_waiting == once.most_waiting
    assert thrice.queries.most_at_once() == once.queries.most_at_once()

"""Every draw of a training step ends, and takes no more than what is annotated."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from peftcorr.data.correspondences import Correspondences
from peftcorr.engine.batches import CliqueSampler, PairSampler
from peftcorr.errors import RecipeFails
from tests.engine.building import load_split

Point = tuple[float, float]
Pair = tuple[str, str, dict[str, tuple[Point, Point]]]  # source, target: keypoint -> place in each
Box = tuple[float, float, float, float]


def made(pairs: list[Pair], boxes: list[tuple[Box, Box]] | None = None) -> Correspondences:
    """Pairs of images ``category/name``."""
    images = sorted({image for source, target, _ in pairs for image in (source, target)})
    names = sorted({name for *_, points in pairs for name in points})
    place = {name: number for number, name in enumerate(names)}
    rows = [
        (number, place[name], *both)
        for number, (*_, points) in enumerate(pairs)
        for name, both in points.items()
    ]
    return Correspondences(
        images=images,
        categories=[image.partition("/")[0] for image in images],
        sizes=[[100, 100] for _ in images],
        source=np.array([images.index(source) for source, *_ in pairs]),
        target=np.array([images.index(target) for _, target, _ in pairs]),
        reference_length=np.full(len(pairs), 50.0),
        pair=np.array([row[0] for row in rows], dtype=np.int32),
        source_points=np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, 2),
        target_points=np.array([row[3] for row in rows], dtype=np.float64).reshape(-1, 2),
        keypoint=np.array([row[1] for row in rows], dtype=np.int32),
        keypoint_names=names,
        pair_ids=pa.array([str(number) for number in range(len(pairs))]),
        source_box=None if boxes is None else np.array([one for one, _ in boxes], dtype=np.float64),
        target_box=None if boxes is None else np.array([other for _, other in boxes], dtype=np.float64),
    )


def itself(image: str, name: str) -> Pair:
    """An image paired with itself."""
    return image, image, {name: ((1.0, 2.0), (1.0, 2.0))}


def test_images_that_share_no_keypoint_are_refused_before_a_draw() -> None:
    """Each picture paired with itself: what was drawn for ever."""
    data = made([itself("cat/a", "nose"), itself("cat/b", "tail"), itself("dog/c", "nose")])
    with pytest.raises(
        RecipeFails, match=r"No two images of a category share a keypoint, .*training\.sampler=pairs\."
    ):
        CliqueSampler(data, 5, seed=0)
    assert PairSampler(data, 2, seed=0).batch(0).pairs() == 2


def test_images_that_share_one_are_found_whatever_the_list_pairs() -> None:
    """Both are paired with themselves alone, and show the same landmark."""
    batch = CliqueSampler(made([itself("cat/a", "nose"), itself("cat/b", "nose")]), 5, seed=0).batch(0)
    assert batch.pairs() == 2


def test_a_category_that_can_give_no_pair_is_not_drawn() -> None:
    pairs: list[Pair] = [itself(f"cat/{n}", f"{n}") for n in range(500)]
    sampler = CliqueSampler(made([*pairs, ("dog/a", "dog/b", {"nose": ((1.0, 2.0), (3.0, 4.0))})]), 5, seed=0)
    for step in range(20):
        assert sampler.batch(step).truth.tolist() in ([[3, 4], [1, 2]], [[1, 2], [3, 4]])


def test_where_few_images_share_a_keypoint_each_step_finds_some() -> None:
    """Of 1,000 images each shares keypoints with one other: one clique in fifty has such two."""
    pairs: list[Pair] = [
        (f"cat/{n}a", f"cat/{n}b", {f"{n}": ((float(n), 1.0), (float(n), 2.0))}) for n in range(500)
    ]
    data = made(pairs)
    sampler = CliqueSampler(data, 5, seed=0)
    drawn: Counter[int] = Counter()
    for step in range(300):
        batch = sampler.batch(step)
        assert len(batch.images) == len(set(batch.images.tolist())) == 5
        assert len(batch.truth) >= 2
        assert (batch.query_points[:, 0] == batch.truth[:, 0]).all()
        drawn.update(batch.query_points[:, 0].astype(int).tolist())
    assert len(drawn) > 150, "all over the list"


def test_a_step_takes_no_room_for_names_that_it_does_not_draw() -> None:
    """A column for each of 20,000 names would be 3 GB here."""
    points = {str(name): ((float(name), 1.0), (2.0, float(name))) for name in range(20_000)}
    pairs: list[Pair] = [
        (f"cat/{n}a", f"cat/{n}b", {str(k): points[str(k)] for k in range(20 * n, 20 * n + 20)})
        for n in range(1000)
    ]
    data = made(pairs)
    tracemalloc.start()
    for sampler in (CliqueSampler(data, 5, seed=0), PairSampler(data, 8, seed=0)):
        assert len(sampler.batch(0).truth) >= 40
    assert tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()


def test_pairs_without_keypoints_are_not_drawn() -> None:
    pairs: list[Pair] = [("cat/a", "cat/b", {}), ("cat/b", "cat/a", {"nose": ((1.0, 2.0), (3.0, 4.0))})]
    sampler = PairSampler(made(pairs), 1, seed=0)
    assert all(len(sampler.batch(step).truth) == 1 for step in range(6))
    with pytest.raises(RecipeFails, match="No pair of the trn split has a keypoint"):
        PairSampler(made(pairs[:1]), 1, seed=0)


def _two_objects(boxes: bool) -> Correspondences:
    """Two cats on one photograph, each paired with another photograph's."""
    left, right = (10.0, 10.0), (80.0, 10.0)
    pairs: list[Pair] = [
        ("cat/both", "cat/x", {"nose": (left, (1.0, 1.0)), "tail": ((20.0, 20.0), (2.0, 2.0))}),
        ("cat/both", "cat/y", {"nose": (right, (3.0, 3.0)), "tail": ((90.0, 20.0), (4.0, 4.0))}),
        ("cat/x", "cat/y", {"nose": ((1.0, 1.0), (3.0, 3.0)), "tail": ((2.0, 2.0), (4.0, 4.0))}),
    ]
    one, other, x, y = (0, 0, 40, 40), (60, 0, 99, 40), (0, 0, 9, 9), (1, 1, 9, 9)
    given: list[tuple[Box, Box]] = [(one, x), (other, y), (x, y)]
    return made(pairs, given if boxes else None)


@pytest.mark.parametrize("boxes", [True, False])
def test_two_objects_of_one_photograph_keep_their_own_keypoints(boxes: bool) -> None:
    """The points of the second took the place of the first's."""
    data = _two_objects(boxes)
    sampler = CliqueSampler(data, 4, seed=0)
    found: set[tuple[int, int, tuple[Point, ...]]] = set()
    for step in range(30):
        batch = sampler.batch(step)
        assert len(set(batch.images.tolist())) == len(batch.images), "an image is encoded once"
        slots = batch.images[batch.query_slot], batch.images[batch.target_slot]
        assert (slots[0] != slots[1]).all(), "no photograph is matched with itself"
        for source, target, query, truth in zip(*slots, batch.query_points, batch.truth, strict=True):
            found.add((int(source), int(target), (tuple(query), tuple(truth))))
    places = {query for source, _, (query, _) in found if source == data.images.index("cat/both")}
    assert places == {(10.0, 10.0), (20.0, 20.0), (80.0, 10.0), (90.0, 20.0)}
    parts = {(10.0, 10.0), (80.0, 10.0)}, {(20.0, 20.0), (90.0, 20.0)}
    for _, _, (query, truth) in found:
        nose = query in parts[0] or query in ((1.0, 1.0), (3.0, 3.0))
        assert nose == (truth in parts[0] or truth in ((1.0, 1.0), (3.0, 3.0))), "each with its own kind"


def test_boxes_are_those_of_the_annotation(photographs: Path, tmp_path: Path) -> None:
    split = load_split(photographs, tmp_path)
    for side in ("source", "target"):
        assert getattr(split.data, f"{side}_box").tolist() == split.dataset.table[f"{side}_box"][:]


def test_boxes_that_differ_by_pair_make_no_objects_as_long_as_the_keypoints_agree() -> None:
    """Many folders give each pair the box round the keypoints that it shares."""
    pairs: list[Pair] = [
        ("cat/a", "cat/b", {"nose": ((1.0, 1.0), (2.0, 2.0))}),
        ("cat/a", "cat/c", {"tail": ((5.0, 5.0), (6.0, 6.0))}),
    ]
    boxes: list[tuple[Box, Box]] = [((0, 0, 2, 2), (0, 0, 9, 9)), ((4, 4, 6, 6), (0, 0, 9, 9))]
    batch = CliqueSampler(made(pairs, boxes), 5, seed=0).batch(0)
    assert len(batch.images) == 3
    assert batch.pairs() == 4

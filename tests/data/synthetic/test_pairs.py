"""Annotation of a rendered pair, in SPair-71k's grades, and which pairs there are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from peftcorr.data.synthetic.pairs import annotate_pair, sample_pairs


def image(**change: Any) -> dict[str, Any]:
    points = {"0": [1.0, 2.0], "1": None, "2": [5.0, 6.0], "3": [7.0, 8.0]}
    return {
        "filename": "a.png", "image_width": 150, "image_height": 160, "image_depth": 3, "category": "car",
        "bndbox": [10.0, 20.0, 110.0, 80.0], "kps": points, "azimuth": 0.0, "elevation": 0.0, "truncated": False,
        "occluded": False, "object_seed": 1, **change,
    }  # fmt: skip


def test_a_pair_has_what_both_show() -> None:
    other = image(
        filename="b.png", image_width=90, kps={"0": [3.0, 4.0], "1": [0.0, 0.0], "2": None, "3": [9.0, 9.5]}
    )
    pair = annotate_pair(7, image(), other)
    assert pair["filename"] == "000007-a-b:car"
    assert (pair["kps_ids"], pair["src_kps"], pair["trg_kps"]) == (
        ["0", "3"], [[1.0, 2.0], [7.0, 8.0]], [[3.0, 4.0], [9.0, 9.5]],
    )  # fmt: skip
    assert (pair["src_imsize"], pair["trg_imsize"]) == ([150, 160, 3], [90, 160, 3])
    assert (pair["mirror"], pair["category"], pair["pair_id"]) == (0, "car", 7)


@pytest.mark.parametrize(
    ("one", "other", "grade"),
    [
        (0, 0, 0), (10, 55, 0), (10, 55.5, 1), (0, -100, 1), (0, 100.5, 2), (0, 180, 2),
        (170, -170, 0), (-150, 150, 1), (-120, 120, 2),
    ],
)  # fmt: skip
def test_viewpoints_by_the_smaller_turn(one: float, other: float, grade: int) -> None:
    for source, target in ((one, other), (other, one)):
        pair = annotate_pair(0, image(azimuth=float(source)), image(azimuth=float(target)))
        assert pair["viewpoint_variation"] == grade


@pytest.mark.parametrize(("longer", "grade"), [(100, 0), (140, 0), (140.5, 1), (200, 1), (200.5, 2)])
def test_scales_by_the_ratio_of_the_longer_sides(longer: float, grade: int) -> None:
    """That of `image` is 100 wide and 60 high; the other one is high."""
    other = image(bndbox=[0.0, 5.0, 30.0, 5.0 + longer])
    for pair in (annotate_pair(0, image(), other), annotate_pair(0, other, image())):
        assert pair["scale_variation"] == grade


@pytest.mark.parametrize(("source", "target", "code"), [(0, 0, 0), (1, 0, 1), (0, 1, 2), (1, 1, 3)])
def test_which_of_the_two_is_cut_or_hidden(source: int, target: int, code: int) -> None:
    for field, graded in (("truncated", "truncation"), ("occluded", "occlusion")):
        pair = annotate_pair(0, image(**{field: bool(source)}), image(**{field: bool(target)}))
        assert pair[graded] == code
        assert pair[{"truncation": "occlusion", "occlusion": "truncation"}[graded]] == 0


def test_pairs_share_enough_landmarks() -> None:
    few = image(kps={"0": [1.0, 1.0], "1": [1.0, 1.0], "2": None, "3": None})
    images = [image(), image(), few]
    rng = np.random.default_rng
    assert sorted(sample_pairs(images, 10, 3, rng(0))) == [(0, 1), (1, 0)]
    assert len(sample_pairs(images, 10, 1, rng(0))) == 6
    drawn = sample_pairs(images, 4, 1, rng(0))
    assert len(set(drawn)) == 4
    assert drawn == sample_pairs(images, 10, 1, rng(0))[:4]

"""Parameters of each of peft's tuners on one layer, worked out by hand from its paper's formula."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from peftcorr.strategies.tuners import counts
from peftcorr.strategies.tuners.counts import Shape, Unfit, factors, shape_of

LINEAR = Shape(24, 40)
WIDE = Shape(24, 40, kernel=(3, 5))  # 15 cells
GROUPED = Shape(24, 40, kernel=(3, 5), groups=4)
EFFECTIVE = {"use_effective_conv2d": True}


@pytest.mark.parametrize(
    ("count", "shape", "options", "expected"),
    [
        ("low_rank", LINEAR, {"r": 4}, 4 * 64),
        ("low_rank", WIDE, {"r": 4}, 4 * (24 * 15 + 40)),
        ("low_rank", GROUPED, {"r": 4}, 4 * (24 * 15 + 10)),
        ("dora", GROUPED, {"r": 4}, 4 * (24 * 15 + 10) + 40),
        ("adalora", WIDE, {"init_r": 3}, 3 * (24 * 15 + 40 + 1)),
        ("loha", WIDE, {"r": 2, "use_effective_conv2d": False}, 2 * 2 * (24 * 15 + 40)),
        ("loha", WIDE, {"r": 2, **EFFECTIVE}, 2 * 2 * (24 + 40 + 2 * 15)),
        ("loha", LINEAR, {"r": 2, **EFFECTIVE}, 2 * 2 * 64),
        ("oft", Shape(24, 40), {"oft_block_size": 8, "r": 0, "block_share": False}, 3 * 28),
        ("oft", Shape(24, 40), {"oft_block_size": 8, "r": 0, "block_share": True}, 28),
        ("oft", Shape(24, 40), {"oft_block_size": 0, "r": 4, "block_share": False}, 4 * 15),
        ("boft", WIDE, {"boft_block_size": 4, "boft_block_num": 0}, 360 * 4 + 40),
        ("boft", LINEAR, {"boft_block_size": 0, "boft_block_num": 6}, 24 * 4 + 40),
        ("hra", WIDE, {"r": 2}, 2 * 24 * 15),
        ("ia3", LINEAR, {}, 40),
        ("ia3", Shape(24, 40, feedforward=True), {}, 24),
        ("vera", LINEAR, {"r": 7}, 47),
        ("fourierft", LINEAR, {"n_frequency": 960}, 960),
        ("norm", Shape(24, 24), {}, 48),
        ("norm", Shape(24, 24, bias=False), {}, 24),
        ("delora", LINEAR, {"r": 4}, 4 * 64 + 1),
        ("miss", LINEAR, {"r": 24}, 24 * 40),
        ("road", LINEAR, {"group_size": 8, "variant": "road_1"}, 40),
        ("road", LINEAR, {"group_size": 8, "variant": "road_2"}, 80),
        ("road", LINEAR, {"group_size": 8, "variant": "road_4"}, 160),
        ("c3a", LINEAR, {"block_size": 8}, 24 * 5),
    ],
)
def test_by_hand(count: str, shape: Shape, options: dict[str, Any], expected: int) -> None:
    found = getattr(counts, count)(shape, options)
    assert found == expected
    assert type(found) is int, "it is printed, and compared to the last digit"


# 40 = 5 x 8 and 24 = 4 x 6 are nearest to squares: small factors 5 and 4, large ones 8 and 6.
@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        (LINEAR, {"r": 2}, 20 + 2 * (8 + 6)),
        (LINEAR, {"r": 3}, 20 + 3 * 14),
        (LINEAR, {"r": 4}, 20 + 48),  # half of the larger one: as small whole
        (LINEAR, {"r": 2, "decompose_both": True}, 2 * (5 + 4) + 2 * 14),
        (LINEAR, {"r": 3, "decompose_both": True}, 20 + 3 * 14),
        (LINEAR, {"r": 2, "decompose_factor": 8}, 64 + 2 * (5 + 3)),
        (WIDE, {"r": 2}, 20 + 2 * (8 + 6 * 15)),
        (WIDE, {"r": 2, **EFFECTIVE}, 20 + 2 * (8 + 6 + 2 * 15)),
        (WIDE, {"r": 4}, 20 + 48 * 15),
    ],
)
def test_lokr_by_hand(shape: Shape, options: dict[str, Any], expected: int) -> None:
    defaults = {"decompose_both": False, "decompose_factor": -1, "use_effective_conv2d": False}
    found = counts.lokr(shape, {**defaults, **options})
    assert (found, type(found)) == (expected, int)


def test_factors() -> None:
    assert factors(40, -1) == (5, 8)
    assert factors(40, 8) == (8, 5)
    assert factors(40, 3) == (2, 20)
    assert factors(36, -1) == (6, 6)
    assert factors(36, 100) == (6, 6)
    assert factors(7, -1) == (1, 7)


@pytest.mark.parametrize(
    ("count", "shape", "options"),
    [
        ("low_rank", GROUPED, {"r": 6}),
        ("low_rank", Shape(24, 40, (3, 5), dilated=True), {"r": 4}),
        ("oft", LINEAR, {"oft_block_size": 7, "r": 0, "block_share": False}),
        ("oft", LINEAR, {"oft_block_size": 1, "r": 0, "block_share": False}),
        ("oft", LINEAR, {"oft_block_size": 0, "r": 24, "block_share": False}),
        ("boft", LINEAR, {"boft_block_size": 5, "boft_block_num": 0}),
        ("boft", LINEAR, {"boft_block_size": 0, "boft_block_num": 24}),
        ("hra", LINEAR, {"r": 3}),
        ("fourierft", LINEAR, {"n_frequency": 961}),
        ("miss", LINEAR, {"r": 25}),
        ("road", LINEAR, {"group_size": 16, "variant": "road_1"}),
        ("c3a", LINEAR, {"block_size": 12}),
        ("c3a", LINEAR, {"block_size": 5}),
    ],
)
def test_what_a_layer_cannot_take(count: str, shape: Shape, options: dict[str, Any]) -> None:
    with pytest.raises(Unfit):
        getattr(counts, count)(shape, options)


def test_shapes_of_layers() -> None:
    assert shape_of(nn.Linear(3, 5)) == Shape(3, 5)
    assert shape_of(nn.Linear(3, 5, bias=False), feedforward=True) == Shape(
        3, 5, bias=False, feedforward=True
    )
    found = shape_of(nn.Conv2d(6, 8, (3, 5), groups=2, bias=False))
    assert (found, found.cells) == (Shape(6, 8, (3, 5), 2, bias=False), 15)
    assert shape_of(nn.Conv2d(6, 8, 3, dilation=(1, 2))).dilated
    assert shape_of(nn.LayerNorm(7)) == Shape(7, 7)
    assert Shape(3, 5).cells == 1
    with pytest.raises(Unfit, match="it is a BatchNorm2d, no linear layer"):
        shape_of(nn.BatchNorm2d(4))

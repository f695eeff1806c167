"""PCK over how many of the last blocks are trained: what makes one curve."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from peftcorr.report.depth import depths, draw_depths
from peftcorr.report.leaderboard import build_leaderboard


def record(make_record: Any, k: int, seed: int = 0, steps: int = 150, pck: float = 40.0) -> Any:
    return make_record(
        f"k{k}s{seed}t{steps}",
        "last_k",
        pck + k,
        1000 * k,
        options={"k": k},
        seed=seed,
        training={"steps": steps},
    )


def test_runs_that_differ_in_the_number_of_blocks_alone_are_one_curve(make_record: Any) -> None:
    records = [
        make_record("f", "frozen", 20.0, 0),
        *(record(make_record, k, seed) for k in (1, 2, 3) for seed in (0, 1)),
        record(make_record, 1, steps=900),  # another training, and alone
        make_record("x", "lora", 70.0, 500),
    ]
    leaderboard = build_leaderboard(records)
    board = leaderboard.sections[0].boards[0]
    [found] = depths(leaderboard, board)
    assert found.title == "tiny 128 px\ntrained on synthetic, 150 steps"
    assert {k: value["0.1"].mean for k, value in found.values.items()} == {0: 20.0, 1: 41.0, 2: 42.0, 3: 43.0}
    assert found.values[1]["0.1"].sd == 0.0
    picture = draw_depths("synthetic/test", [found], board.alphas)
    shown = [element.text for element in ElementTree.fromstring(picture).iter() if element.text]
    assert {"frozen", "1", "2", "3", "PCK@0.05", "PCK@0.1", "PCK@0.2"} <= set(shown)
    assert picture == draw_depths("synthetic/test", [found], board.alphas)


def test_one_number_of_blocks_is_no_curve(make_record: Any) -> None:
    leaderboard = build_leaderboard([record(make_record, 1), make_record("f", "frozen", 20.0, 0)])
    assert depths(leaderboard, leaderboard.sections[0].boards[0]) == []


@pytest.mark.parametrize("backbone", [{"resize": "letterbox"}, {"layer": 3}])
def test_the_beginning_of_a_curve_is_the_backbone_that_it_began_with(make_record: Any, backbone: Any) -> None:
    def frozen(run_id: str, pck: float, **options: Any) -> Any:
        given = {"name": "tiny", "image_size": 128, "resize": "stretch", "weights": None, **options}
        return make_record(run_id, "frozen", pck, 0, recipe={"backbone": given})

    trained, other, own = (
        (record(make_record, 1), record(make_record, 2)),
        frozen("g", 35.0, **backbone),
        frozen("f", 20.0),
    )
    for records, first in (((*trained, other), None), ((*trained, other, own), 20.0)):
        leaderboard = build_leaderboard(records)
        [found] = depths(leaderboard, leaderboard.sections[0].boards[0])
        assert (found.values[0]["0.1"].mean if 0 in found.values else None) == first


def test_frozen_runs_that_do_not_agree_begin_no_curve(make_record: Any) -> None:
    frozen = [
        make_record("f", "frozen", 20.0, 0),
        make_record("g", "frozen", 21.0, 0, recipe={"encode_batch": 4}),
    ]
    leaderboard = build_leaderboard([record(make_record, 1), record(make_record, 2), *frozen])
    [found] = depths(leaderboard, leaderboard.sections[0].boards[0])
    assert sorted(found.values) == [1, 2]

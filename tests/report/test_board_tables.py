from __future__ import annotations

from typing import Any

import pytest

from peftcorr.report.board_tables import best_within, board_tables, shown_alphas
from peftcorr.report.leaderboard import Board, build_leaderboard


@pytest.fixture
def board(make_record: Any) -> Board:
    large = {"recipe": {"backbone": {"name": "tiny", "image_size": 256}}}
    records = [
        make_record("a", "frozen", 20.0, 0),
        make_record("b", "lora", 60.0, 1000),
        make_record("c", "adapter", 55.0, 5000, dataset="farm"),
        make_record("d", "ssf", 54.0, 6000, dataset="farm"),
        make_record("e", "frozen", 25.0, 0, **large),
        make_record("f", "lora", 50.0, 20_000_000, backbone="small", total_parameters=40_000_000),
    ]
    [section] = build_leaderboard(records).sections
    [board] = section.boards
    return board


def test_a_table_is_one_backbone_size_and_training_set_with_its_frozen_backbone(board: Board) -> None:
    found = {one.title: [row.label for row in one.rows] for one in board_tables(board)}
    assert found == {
        "small, 128 px, trained on synthetic": ["lora"],
        "tiny, 128 px, trained on farm": ["adapter", "ssf", "frozen"],
        "tiny, 128 px, trained on synthetic": ["lora", "frozen"],
        "tiny, 256 px, frozen": ["frozen"],
    }


def test_the_front_is_that_of_the_table(board: Board) -> None:
    """On the board both have rows above them: another training set, another input size."""
    [farm] = [one for one in board_tables(board) if one.trained_on == "farm"]
    assert [(row.label, row.on_front, front) for row, front in zip(farm.rows, farm.front, strict=True)] == [
        ("adapter", False, True),
        ("ssf", False, False),
        ("frozen", False, True),
    ]


def test_the_gain_is_over_the_frozen_backbone_with_the_same_input(board: Board) -> None:
    gains = {(row.label, row.backbone, row.image_size): row.gain for row in board.rows}
    assert gains["lora", "tiny", 128] == 40.0
    assert gains["adapter", "tiny", 128] == 35.0
    assert gains["frozen", "tiny", 128] is None
    assert gains["lora", "small", 128] is None, "its frozen backbone was not run"


def test_frozen_runs_that_do_not_agree_give_no_gain(make_record: Any) -> None:
    frozen = [
        make_record("a", "frozen", 20.0, 0),
        make_record("b", "frozen", 21.0, 0, recipe={"encode_batch": 4}),
    ]
    [section] = build_leaderboard([*frozen, make_record("c")]).sections
    assert [row.gain for row in section.boards[0].rows] == [None, None, None]


def test_the_best_within_a_budget(board: Board) -> None:
    found = [best_within(board.rows, board, budget) for budget in (0, 999, 1000, 10**9)]
    assert [row and row.run_ids for row in found] == [("e",), ("e",), ("b",), ("b",)]
    assert best_within([row for row in board.rows if row.backbone == "small"], board, 10**7) is None


def test_three_thresholds_are_shown_and_the_one_that_ranks_is_first(
    make_record: Any, make_scores: Any
) -> None:
    scores = make_scores(50.0, 900)
    for given, shown in (
        (("0.05", "0.1", "0.2"), ("0.1", "0.05", "0.2")),
        (("0.01", "0.05", "0.1", "0.15", "0.2"), ("0.1", "0.05", "0.15")),
        (("0.1",), ("0.1",)),
        (("0.1", "0.3"), ("0.1", "0.3")),
    ):
        one = {**scores, "per_keypoint": dict.fromkeys(given, 5.0)}
        [section] = build_leaderboard([make_record("a", scores={"synthetic/test": {"argmax": one}})]).sections
        assert shown_alphas(section.boards[0]) == shown

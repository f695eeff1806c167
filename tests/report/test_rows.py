"""What becomes one row, what it is called and what it is ranked with."""

from __future__ import annotations

import random
from typing import Any

import pytest

from peftcorr.report.leaderboard import Board, Row, build_leaderboard


def only_board(records: list[Any]) -> Board:
    sections = build_leaderboard(records).sections
    assert len(sections) == 1
    assert len(sections[0].boards) == 1
    return sections[0].boards[0]


def rows(records: list[Any]) -> dict[str, Row]:
    return {row.label: row for row in only_board(records).rows}


def test_rows_are_ranked_and_the_front_is_marked(make_record: Any) -> None:
    board = only_board(
        [
            make_record("a", "frozen", 20.0, 0),
            make_record("b", "lora", 60.0, 1000),
            make_record("c", "adapter", 70.0, 5000),
            make_record("d", "last_k", 65.0, 9000),
        ]
    )
    assert [(row.label, row.on_front) for row in board.rows] == [
        ("adapter", True),
        ("last_k", False),
        ("lora", True),
        ("frozen", True),
    ]


def test_of_equal_scores_the_fewest_parameters_come_first_then_the_alphabet(make_record: Any) -> None:
    """Whatever the order of the records; both of two that cost the same are on the front, and no dearer one."""
    records = [
        make_record("a", "vpt", 60.0, 1000), make_record("b", "lora", 60.0, 1000),
        make_record("c", "adapter", 60.0, 2000),
        make_record("d", "ssf", 60.0, 500), make_record("e", "bitfit", 59.0, 500), make_record("f", "norm", 60.0, 500),
    ]  # fmt: skip
    for given in (records, records[::-1], random.Random(0).sample(records, 6)):
        board = only_board(given)
        assert [(row.label, row.on_front) for row in board.rows] == [
            ("norm", True), ("ssf", True), ("lora", False), ("vpt", False), ("adapter", False), ("bitfit", False),
        ]  # fmt: skip


def test_of_equal_rows_the_backbone_then_the_run_decides(make_record: Any) -> None:
    records = [
        make_record("b", "lora", 60.0, backbone="tiny"), make_record("a", "lora", 60.0, backbone="uniform"),
        make_record("d", "lora", 60.0, backbone="small"),
    ]  # fmt: skip
    for given in (records, records[::-1]):
        assert [row.run_ids for row in only_board(given).rows] == [("d",), ("b",), ("a",)]


def test_seeds_of_a_configuration_are_one_row(make_record: Any) -> None:
    board = only_board([make_record(f"r{seed}", pck=60.0 + seed, seed=seed) for seed in (0, 1, 2)])
    (row,) = board.rows
    assert row.label == "lora"
    assert row.seeds == (0, 1, 2)
    assert (row.per_keypoint["0.1"].mean, row.per_keypoint["0.1"].sd) == (61.0, 1.0)
    assert row.per_image["0.1"].mean == 30.5


def test_a_strategy_shows_the_options_that_tell_its_rows_apart(make_record: Any) -> None:
    fixed = {"dropout": 0.0, "blocks": "all"}
    found = rows(
        [
            make_record("a", options={**fixed, "rank": 8, "targets": ["q", "v"]}),
            make_record("b", options={**fixed, "rank": 16, "targets": ["q", "v"]}),
            make_record("c", options={**fixed, "rank": 8, "targets": ["q"]}),
            make_record("d", "adapter", options={"bottleneck": 64}),
        ]
    )
    assert set(found) == {
        "lora (rank 8, targets q v)",
        "lora (rank 16, targets q v)",
        "lora (rank 8, targets q)",
        "adapter",
    }


def test_tuners_of_peft_are_rows_of_their_own_name(make_record: Any) -> None:
    targets = {"targets": ["q", "v"], "blocks": "all"}
    found = rows(
        [
            make_record("a", "peft", options={"tuner": "dora", **targets}),
            make_record("b", "peft", options={"tuner": "ia3", "targets": ["k", "v"], "blocks": "all"}),
            make_record("c", "peft", options={"tuner": "ia3", **targets}),
        ]
    )
    assert set(found) == {"dora", "ia3 (targets k v)", "ia3 (targets q v)"}
    assert {row.strategy for row in found.values()} == {"dora", "ia3"}


def test_rows_that_would_look_alike_show_where_their_recipes_differ(make_record: Any) -> None:
    found = rows(
        [
            make_record("a", training={"learning_rate": 0.001}),
            make_record("b", training={"learning_rate": 0.0003, "steps": 300}),
            make_record("c", training={"schedule": {"warm_up": True}}),
        ]
    )
    assert set(found) == {
        "lora (learning rate 0.001, steps 150)",
        "lora (learning rate 0.0003, steps 300)",
        "lora (learning rate 0.001, steps 150, warm up on)",
    }


def test_a_label_has_no_more_options_than_tell_the_rows_apart(make_record: Any) -> None:
    search = {"learning_rate": None, "search": {"learning_rates": [0.001, 0.01], "steps": 30}}
    found = rows(
        [
            make_record("a", training={"learning_rate": 0.001, "images": 5}),
            make_record("b", training={**search, "images": 5, "checkpoint_every": 80}),
            make_record("c", training={**search, "images": 8, "steps": 400}),
        ]
    )
    assert set(found) == {
        "lora (learning rate 0.001, steps 150)",
        "lora (learning rate searched, steps 150)",
        "lora (learning rate searched, steps 400)",
    }


def test_neighbouring_blocks_are_shown_as_a_range(make_record: Any) -> None:
    found = rows(
        [
            make_record("a", options={"blocks": [4, 5, 6, 7]}),
            make_record("b", options={"blocks": [4, 6, 7]}),
            make_record("c", options={"blocks": [4, 5]}),
        ]
    )
    assert set(found) == {"lora (blocks 4-7)", "lora (blocks 4 6 7)", "lora (blocks 4 5)"}


def test_a_repetition_that_did_not_repeat_is_shown_and_told_apart_by_run_id(make_record: Any) -> None:
    found = rows([make_record("run-a"), make_record("run-b", pck=51.0)])
    assert set(found) == {"lora [run-a]", "lora [run-b]"}


def test_weights_that_are_not_official_are_shown_by_their_id(make_record: Any) -> None:
    own = {"backbone": "dinov2_vits14", "official_weights": False, "weights_sha256": "ab" * 32}
    board = only_board(
        [
            make_record("a", pck=10.0, backbone="dinov2_vits14", weights_id="facebook/dinov2-small"),
            make_record("b", pck=20.0, weights_id="dinov2-small-saliency", **own),
            make_record("c", pck=30.0, weights_id="dinov2_vits14", **own),
        ]
    )
    assert [row.backbone for row in board.rows] == [
        "dinov2_vits14 (other weights)",
        "dinov2-small-saliency",
        "dinov2_vits14",
    ]


def test_frozen_is_one_row_whatever_it_would_have_been_trained_on(make_record: Any, make_scores: Any) -> None:
    scores = {"pf_willow/test": {"argmax": make_scores(30.0, 900)}}
    board = only_board(
        [
            make_record("a", "frozen", trainable=0, scores=scores),
            make_record("b", "frozen", trainable=0, scores=scores, seed=3, dataset="animal-pairs",
                        recipe={"dataset": {"name": "pairs"}, "eval_on": [{"name": "pf_willow"}]}),
        ]
    )  # fmt: skip
    (row,) = board.rows
    assert (row.trained_on, row.seeds, row.per_keypoint["0.1"].sd) == ("-", (), None)


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_of_two_records_of_a_run_the_one_with_intervals_is_shown(
    make_record: Any, make_scores: Any, order: tuple[str, str]
) -> None:
    plain = make_scores(50.0, 900)
    told = {**plain, "intervals": {"per_keypoint": {"0.1": [45.0, 55.0]}}}
    both = {order[0]: plain, order[1]: told}
    board = only_board(
        [
            make_record(run_id, scores={"synthetic/test": {"argmax": scores}}, recipe={"eval_on": [{"name": run_id}]})
            for run_id, scores in both.items()
        ]
    )  # fmt: skip
    (row,) = board.rows
    assert row.per_keypoint["0.1"].interval == (45.0, 55.0)


def test_a_run_asked_for_more_is_the_same_row(make_record: Any, make_scores: Any) -> None:
    both = {
        "synthetic/test": {"argmax": make_scores(50.0, 900)},
        "pf_willow/test": {"argmax": make_scores(20.0, 90)},
    }
    leaderboard = build_leaderboard(
        [make_record("a"), make_record("b", scores=both, recipe={"eval_on": [{"name": "pf_willow"}]})]
    )
    assert [(s.dataset, len(s.boards[0].rows)) for s in leaderboard.sections] == [
        ("pf_willow/test", 1),
        ("synthetic/test", 1),
    ]
    assert leaderboard.sections[1].boards[0].rows[0].per_keypoint["0.1"].sd is None


def test_asking_for_something_else_that_changed_the_model_makes_two_rows(make_record: Any) -> None:
    found = rows(
        [make_record("a"), make_record("b", pck=51.0, recipe={"predictors": [{"name": "softargmax"}]})]
    )
    assert len(found) == 2
    assert all("predictors" in label for label in found)


def test_a_subset_is_labelled_and_ranked_apart(make_record: Any) -> None:
    full, subset = build_leaderboard(
        [make_record("a", pck=50.0), make_record("b", pck=90.0, limit_pairs=100)]
    ).sections
    assert (full.title, full.subset) == ("synthetic/test", False)
    assert (subset.title, subset.subset) == ("synthetic/test, subset: 100 of 900 pairs", True)
    assert [row.label for row in subset.boards[0].rows] == ["lora (limited to 100 pairs)"]
    assert [row.on_front for row in full.boards[0].rows] == [True]


def test_a_limit_above_the_split_is_no_subset_but_is_named(make_record: Any, make_scores: Any) -> None:
    whole = {"synthetic/test": {"argmax": make_scores(40.0, 900)}}
    leaderboard = build_leaderboard([make_record("a"), make_record("b", limit_pairs=5000, scores=whole)])
    (section,) = leaderboard.sections
    assert (section.title, section.subset) == ("synthetic/test", False)
    assert {row.label for row in section.boards[0].rows} == {"lora", "lora (limited to 5,000 pairs)"}


def test_a_dataset_known_by_a_subset_alone_is_labelled(make_record: Any) -> None:
    (section,) = build_leaderboard([make_record("a", limit_pairs=64)]).sections
    assert (section.title, section.subset) == ("synthetic/test, subset: 64 pairs", True)


def test_predictors_have_boards_of_their_own(make_record: Any, make_scores: Any) -> None:
    scores = {"synthetic/test": {"window(r=2)": make_scores(60.0, 900), "argmax": make_scores(50.0, 900)}}
    (section,) = build_leaderboard([make_record("a", scores=scores)]).sections
    assert [board.predictor for board in section.boards] == ["argmax", "window(r=2)"]


def test_another_ranking_threshold_when_a_tenth_was_not_scored(make_record: Any, make_scores: Any) -> None:
    scores = make_scores(50.0, 900)
    for aggregate in ("per_keypoint", "per_image"):
        scores[aggregate] = {"0.01": 5.0, "0.03": 9.0, "0.3": 80.0}
    board = only_board([make_record("a", scores={"synthetic/test": {"argmax": scores}})])
    assert (board.alphas, board.ranked_by) == (("0.01", "0.03", "0.3"), "0.03")


def test_failed_runs_are_kept_apart(make_record: Any) -> None:
    leaderboard = build_leaderboard(
        [make_record("a"), make_record("b", status="failed", error="NaN", scores={"x": {}})]
    )
    assert [record.run_id for record in leaderboard.failed] == ["b"]
    assert [record.run_id for _, record in leaderboard.runs] == ["a"]


@pytest.mark.parametrize(
    "recipe", [{}, {"strategy": "lora", "backbone": None, "training": [1], "limit_pairs": "x"}]
)
def test_a_recipe_with_other_keys_is_tolerated(make_record: Any, recipe: dict[str, Any]) -> None:
    bare = make_record("a").model_copy(update={"recipe": recipe})
    (row,) = only_board([bare, make_record("b", "frozen", 20.0, 0)]).rows[:1]
    assert (row.label, row.image_size) == ("lora", None)


def test_order_of_the_records_does_not_matter(make_record: Any) -> None:
    records = [
        make_record(
            f"run-{index}",
            strategy,
            50.0 + index % 3,
            100 * index,
            seed=index % 2,
            options={"rank": index % 4},
        )
        for index, strategy in enumerate(
            ["lora", "adapter", "lora", "frozen", "lora", "ssf", "lora", "adapter"]
        )
    ]
    expected = build_leaderboard(records)
    for seed in range(5):
        assert build_leaderboard(random.Random(seed).sample(records, len(records))) == expected

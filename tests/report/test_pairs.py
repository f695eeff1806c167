"""Another annotation, other images and another plugin's code are other data and other models, whatever their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from peftcorr.report.configuration import split_digest
from peftcorr.report.depth import depths
from peftcorr.report.leaderboard import Section, build_leaderboard
from peftcorr.report.table import leaderboard
from peftcorr.results.identity import run_id
from peftcorr.results.record import Record
from peftcorr.results.store import Store
from tests.report.test_summary import printed

READ = {
    f"{kind} dataset/{split}": f"{kind} {split}"
    for kind in ("annotation", "images")
    for split in ("trn", "val", "test")
}


def made(
    make_record: Any, name: str, strategy: str = "lora", change: Mapping[str, str] | None = None, **rest: Any
) -> Record:
    """A record of today, whose ingredients are `READ`, some of them changed."""
    trained = strategy != "frozen"
    own = {key: value for key, value in READ.items() if trained or key.endswith("/test")}
    rest = {
        "schema_version": 2,
        "ingredients": {**own, **(change or {})},
        "trainable": 1000 * trained,
        **rest,
    }
    record: Record = make_record(name, strategy, **rest)
    return record


def shown(records: list[Record]) -> list[tuple[str, list[tuple[str, tuple[str, ...]]]]]:
    """Title, and label and runs of every row, of each section."""
    sections = build_leaderboard(records).sections
    return [(one.title, [(row.label, row.run_ids) for row in one.boards[0].rows]) for one in sections]


def titled(sections: tuple[Section, ...], label: str) -> str:
    [found] = [one.title for one in sections if label in [row.label for row in one.boards[0].rows]]
    return found


@pytest.mark.parametrize("what", ["annotation", "images"])
def test_a_split_that_was_corrected_has_a_section_of_its_own(make_record: Any, what: str) -> None:
    new = {f"{what} dataset/test": "corrected"}
    records = [
        made(make_record, "f", "frozen", pck=20.0),
        made(make_record, "a", pck=50.0),
        made(make_record, "b", "ssf", new, pck=60.0),
        made(make_record, "c", "ssf", new, pck=62.0, seed=1),
    ]
    sections = build_leaderboard(records).sections
    before, after = titled(sections, "lora"), titled(sections, "ssf")
    digests = {one.title: one.digest for one in sections}
    assert before == f"synthetic/test, data {digests[before][:8]}"
    assert after == f"synthetic/test, data {digests[after][:8]}"
    gains = {row.label: row.gain for one in sections for row in one.boards[0].rows}
    assert gains == {"frozen": None, "lora": 30.0, "ssf": None}, "the frozen run is of the annotation before"
    assert not any(one.subset for one in sections)
    assert all(one.versions for one in sections)
    assert build_leaderboard(records[::-1]).sections == sections


def test_a_frozen_run_on_each_annotation_is_beside_what_was_scored_on_it(make_record: Any) -> None:
    new = {"annotation dataset/test": "corrected"}
    records = [
        made(make_record, "f", "frozen", pck=20.0),
        made(make_record, "g", "frozen", new, pck=26.0),
        made(make_record, "a", pck=50.0),
        made(make_record, "b", "ssf", new, pck=60.0),
    ]
    rows = [row for one in build_leaderboard(records).sections for row in one.boards[0].rows]
    assert {(row.label, row.run_ids, row.gain) for row in rows} == {
        ("frozen", ("f",), None), ("frozen", ("g",), None), ("lora", ("a",), 30.0), ("ssf", ("b",), 34.0),
    }  # fmt: skip


def test_a_subset_is_one_of_its_own_split(make_record: Any) -> None:
    records = [
        made(make_record, "a", pairs=900),
        made(make_record, "b", "ssf", {"annotation dataset/test": "corrected"}, pairs=899),
    ]
    assert not any(one.subset for one in build_leaderboard(records).sections)


@pytest.mark.parametrize("name", ["annotation dataset/trn", "images dataset/val", "held out dataset"])
def test_another_annotation_to_train_on_is_another_configuration(make_record: Any, name: str) -> None:
    records = [made(make_record, "a"), made(make_record, "b", change={name: "corrected"}, seed=1)]
    [(title, rows)] = shown(records)
    assert title == "synthetic/test"
    assert sorted(runs for _, runs in rows) == [("a",), ("b",)]
    assert all(label.startswith("lora (data ") for label, _ in rows)
    frozen = [
        made(make_record, name, "frozen", record.ingredients)
        for name, record in zip("fg", records, strict=True)
    ]
    assert shown(frozen) == [("synthetic/test", [("frozen", ("f", "g"))])], "it was not trained on it"


@pytest.mark.parametrize("name", ["plugin strategy lora", "plugin backbone tiny", "plugin dataset synthetic"])
def test_another_code_of_a_plugin_is_another_configuration(make_record: Any, name: str) -> None:
    records = [
        made(make_record, one, change={name: f"code {one}"}, seed=seed) for seed, one in enumerate("ab")
    ]
    [(_, rows)] = shown(records)
    assert sorted(runs for _, runs in rows) == [("a",), ("b",)]
    assert all(label.startswith("lora (code ") for label, _ in rows)


def test_the_gain_is_over_the_backbone_of_the_same_code(make_record: Any) -> None:
    code = {"plugin backbone tiny": "a"}
    other = made(make_record, "f", "frozen", {"plugin backbone tiny": "b"}, pck=20.0)
    trained = made(make_record, "a", change=code, pck=50.0)
    same = made(make_record, "g", "frozen", code, pck=30.0)
    for records, gain in (([other, trained], None), ([other, trained, same], 20.0)):
        [section] = build_leaderboard(records).sections
        assert [row.gain for row in section.boards[0].rows if row.strategy == "lora"] == [gain]


def test_a_predictor_is_asked_and_is_no_other_model_but_its_code_is_one(make_record: Any) -> None:
    asked = made(
        make_record, "b", change={"plugin predictor mine": "x"}, recipe={"predictors": ["argmax", "mine"]}
    )
    assert shown([made(make_record, "a"), asked]) == [("synthetic/test", [("lora", ("a", "b"))])]
    later = asked.model_copy(
        update={"run_id": "c", "seed": 1, "ingredients": {**READ, "plugin predictor mine": "y"}}
    )
    [(_, rows)] = shown([asked, later])
    assert sorted(runs for _, runs in rows) == [("b",), ("c",)]


def test_the_gain_is_over_what_the_same_code_predicts(make_record: Any, make_scores: Any) -> None:
    def predicted(name: str, strategy: str, code: str, pck: float) -> Record:
        scores = {"synthetic/test": {"mine(r=2)": make_scores(pck, 900)}}
        return made(make_record, name, strategy, {"plugin predictor mine": code}, scores=scores)

    runs = [
        predicted("f", "frozen", "x", 20.0),
        predicted("a", "lora", "x", 50.0),
        predicted("b", "ssf", "y", 60.0),
    ]
    [section] = build_leaderboard(runs).sections
    assert {row.label: row.gain for row in section.boards[0].rows} == {
        "frozen": None,
        "lora": 30.0,
        "ssf": None,
    }


def test_each_tested_split_has_its_own_digest(make_record: Any, make_scores: Any) -> None:
    """The dataset that one run was trained on, another was only tested on."""
    farm = {"annotation eval_on.0/test": "annotation farm", "images eval_on.0/test": "images farm"}
    scores = {f"{name}/test": {"argmax": make_scores(50.0, 900)} for name in ("synthetic", "farm")}
    both = made(make_record, "a", change=farm, scores=scores, recipe={"eval_on": [{"name": "pairs"}]})
    alone = {name.replace("eval_on.0", "dataset"): value for name, value in farm.items()}
    own = made(make_record, "f", "frozen", alone, scores={"farm/test": scores["farm/test"]}, dataset="farm")
    assert (
        split_digest(both, "farm/test")
        == split_digest(own, "farm/test")
        != split_digest(both, "synthetic/test")
    )
    assert [(title, len(rows)) for title, rows in shown([both, own])] == [
        ("farm/test", 2),
        ("synthetic/test", 1),
    ]
    # Two tested splits of one name leave no saying which was scored: all of them count.
    unclear = both.model_copy(update={"scores": {"synthetic/test": both.scores["synthetic/test"]}})
    assert split_digest(unclear, "synthetic/test") not in {"", split_digest(both, "synthetic/test")}


def test_records_of_version_1_tell_nothing(make_record: Any) -> None:
    assert split_digest(make_record("a"), "synthetic/test") == ""
    titles = [title for title, _ in shown([make_record("a"), make_record("b", "ssf")])]
    assert titles == ["synthetic/test"]


def test_a_curve_over_blocks_is_of_one_training_set(make_record: Any) -> None:
    def deep(k: int, **change: Any) -> Record:
        return made(make_record, f"k{k}{len(change)}", "last_k", options={"k": k}, **change)

    new = {"annotation dataset/trn": "corrected"}
    board = build_leaderboard([deep(1), deep(2, change=new)])
    assert depths(board, board.sections[0].boards[0]) == []
    board = build_leaderboard([deep(1), deep(2), deep(3, change=new)])
    assert [sorted(one.values) for one in depths(board, board.sections[0].boards[0])] == [[1, 2]]


def stored(store: Store, record: Record) -> str:
    """Write a record under the id that its recipe and ingredients give it."""
    named = run_id(record.recipe, record.ingredients)
    store.write(record.model_copy(update={"run_id": named}))
    return named


def test_a_rows_digest_tells_its_data_and_version(store: Store, make_record: Any) -> None:
    store.write(make_record("a"))
    stored(store, made(make_record, "b"))
    rows = leaderboard(store.root).rows
    assert [(row["traced"], len(row["digest"])) for row in rows] == [(True, 64), (False, 0)]


@pytest.mark.parametrize("old", ["version 1", "annotation"])
def test_after_a_run_the_frozen_one_is_of_the_same_data(store: Store, make_record: Any, old: str) -> None:
    if old == "version 1":
        store.write(make_record("f", "frozen", 22.0, 0))
    else:
        stored(store, made(make_record, "f", "frozen", {"annotation dataset/test": "before"}, pck=22.0))
    trained = stored(store, made(make_record, "a", pck=60.0))
    assert "gain" not in printed(store, trained)
    stored(store, made(make_record, "f", "frozen", pck=25.0))
    assert "+35.00" in printed(store, trained)


def test_after_a_run_two_tables_of_one_name_are_told_apart(store: Store, make_record: Any) -> None:
    runs = [stored(store, made(make_record, one, change={"annotation dataset/test": one})) for one in "ab"]
    titles = [line for line in printed(store, *runs).splitlines() if line.startswith("synthetic/test")]
    assert len(set(titles)) == 2
    assert all(", data " in title for title in titles)

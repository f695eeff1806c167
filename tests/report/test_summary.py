"""The end of a run: what the command ran, and nothing else."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from peftcorr.metrics.aggregate import score_predictions
from peftcorr.metrics.compare import compare
from peftcorr.metrics.presets import PRESETS
from peftcorr.report.summary import print_summary
from peftcorr.results.store import Store
from tests.metrics.made import drawn, table, written


def printed(
    store: Store, *run_ids: str, width: int = 80, terminal: bool = False, encoding: str = "utf-8"
) -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    print_summary(
        store.root, Console(file=stream, width=width, force_terminal=terminal, color_system=None), run_ids
    )
    stream.flush()
    stream.seek(0)
    return stream.read()


def rows(text: str) -> list[list[str]]:
    """Cells of every row below a header, and the headers."""
    return [re.split(" {2,}", line.strip()) for line in text.splitlines() if re.search(r"\S {2,}\S", line)]


@pytest.fixture
def filled(store: Store, make_record: Any, make_scores: Any) -> Store:
    two = {"synthetic/test": {"argmax": make_scores(60.0, 900), "softargmax": make_scores(1.0, 900)},
           "pf_willow/test": {"argmax": make_scores(30.0, 90)}}  # fmt: skip
    store.write(make_record("frozen", "frozen", 22.0, 0))
    store.write(make_record("lora-16", scores=two, options={"rank": 16, "targets": ["q", "v"]}))
    store.write(make_record("lora-8", "lora", 61.5, 7_079_424, options={"rank": 8, "targets": ["q", "v"]}))
    store.write(
        make_record(
            "large",
            "lora",
            77.0,
            backbone="large",
            weights_id="large",
            options={"rank": 8, "targets": ["q", "v"]},
        )
    )
    store.write(make_record("long", "a_rather_long_name_for_a_strategy", 12.34, 22_056_192))
    store.write(make_record("bad", status="failed", error="NaN [bold]in\nthe loss", scores={"x": {}}))
    return store


def test_one_cell_is_one_row_beside_the_frozen_backbone(filled: Store) -> None:
    text = printed(filled, "lora-8")

    header, row = rows(text)
    assert header == ["strategy", "trained", "@0.05", "@0.1", "@0.2", "frozen @0.1", "gain", "time"]
    assert row == ["lora", "7,079,424", "30.75", "61.50", "92.25", "22.00", "+39.50", "1 min 30 s"]
    what, title, *_, last = text.strip().splitlines()
    assert what == "PCK per keypoint in percent; gain over the frozen backbone in points:"
    assert title == "synthetic/test, 900 pairs, tiny 128 px, argmax"
    page = filled.root / "README.md"
    assert last == f"Leaderboard: {page}; in parts: peftcorr breakdown lora-8 --output {filled.root}"
    assert len(text.splitlines()) <= 8


def test_each_dataset_and_backbone_has_a_table_and_only_with_what_was_asked(filled: Store) -> None:
    text = printed(filled, "lora-16", "lora-8", "large")

    assert [line for line in text.splitlines() if line.endswith(", argmax")] == [
        "synthetic/test, 900 pairs, tiny 128 px, argmax",
        "pf_willow/test, 90 pairs, tiny 128 px, argmax",
        "synthetic/test, 900 pairs, large 128 px, argmax",
    ]
    names = [cells[0] for cells in rows(text)]
    both = ["lora (rank 16)", "lora (rank 8)"]
    assert names == ["strategy", *both, "strategy", both[0], "strategy", both[1]]
    assert "frozen @0.1" in text.split("pf_willow")[0]
    assert "frozen @0.1" not in text.split("pf_willow")[1], (
        "nothing frozen was scored there, nor another backbone"
    )
    assert "long_name" not in text


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_a_terminal_is_not_overrun_and_no_name_is_broken(filled: Store, width: int) -> None:
    text = printed(filled, "frozen", "lora-16", "lora-8", "long", width=width, terminal=True)

    assert max(map(len, text.splitlines())) <= width
    assert "61.50" in text
    assert "a_rather_long_name_for_a_strategy" in text
    labels = re.findall(r"^lora.*?(?=  )", text, re.MULTILINE)
    assert labels
    assert all(label in {"lora (rank 16)", "lora (rank 8)", "lora (rank …", "lora …"} for label in labels)


def test_piped_nothing_is_left_out(filled: Store) -> None:
    text = printed(filled, "frozen", "lora-16", "long", width=30)

    assert ["a_rather_long_name_for_a_strategy", "22,056,192", "6.17", "12.34", "18.51", "22.00", "-9.66",
            "1 min 30 s"] in rows(text)  # fmt: skip
    assert ["frozen", "0", "11.00", "22.00", "33.00", "-", "-", "-"] in rows(text)


def test_a_failed_cell_says_why_on_one_line(filled: Store) -> None:
    text = printed(filled, "bad", "missing")

    failed, last = text.splitlines()
    assert failed == "Failed: lora on tiny at 128 px, trained on synthetic (bad): NaN [bold]in the loss"
    assert last == f"Leaderboard: {filled.root / 'README.md'}"


def test_letters_that_a_console_has_not_are_replaced(filled: Store) -> None:
    text = printed(filled, "lora-16", "lora-8", "long", width=60, terminal=True, encoding="ascii")
    assert "…" not in text
    assert "61.50" in text


def test_seeds_and_training_data_have_columns_where_they_differ(store: Store, make_record: Any) -> None:
    store.write(make_record("a", seed=1))
    store.write(make_record("b", seed=2, dataset="animal-pairs", recipe={"dataset": {"name": "pairs"}}))

    header, *found = rows(printed(store, "a", "b"))
    assert header[:3] == ["strategy", "trained on", "seed"]
    assert [cells[:3] for cells in found] == [["lora", "synthetic", "1"], ["lora", "animal-pairs", "2"]]


def scored(store: Store, make_record: Any, run_id: str, seed: int, kind: str, **change: Any) -> None:
    """A record of drawn predictions, which lie beside it."""
    preds = drawn(seed, {"cat": 5, "dog": 5})
    written(preds, store.root, run_id)
    preset = PRESETS[change.get("protocol", {}).get("name", "peftcorr")]
    found = score_predictions(table(preds), [0.05, 0.1, 0.2], preset)
    scores = {
        split: {name: one.model_dump() for name, one in by_predictor.items()}
        for split, by_predictor in found.items()
    }
    store.write(make_record(run_id, kind, trainable=0 if kind == "frozen" else 10, scores=scores, **change))


def test_the_gain_has_the_paired_interval_where_both_runs_have_predictions(
    store: Store, make_record: Any
) -> None:
    scored(store, make_record, "base", 0, "frozen")
    scored(store, make_record, "lora", 1, "lora")
    parts = [table(drawn(seed, {"cat": 5, "dog": 5})) for seed in (0, 1)]
    [expected] = [
        one for one in compare(parts[:1], parts[1:], [0.1], ["argmax"]) if one.aggregate == "per_keypoint"
    ]
    assert expected.interval is not None

    header, row = rows(printed(store, "lora"))
    low, high = expected.interval
    assert row[header.index("gain, 95 %")] == f"{expected.difference:+.2f} [{low:.1f}, {high:.1f}]"
    assert row[header.index("frozen @0.1")] == f"{expected.scores[0]:.2f}"

    store.predictions_path("base").unlink()
    header, row = rows(printed(store, "lora"))
    assert row[header.index("gain")] == f"{expected.difference:+.2f}"


@pytest.mark.parametrize(
    "change",
    [
        {"weights_sha256": "ab" * 32},
        {"recipe": {"backbone": {"name": "tiny", "image_size": 64, "resize": "stretch"}}},
        {"recipe": {"backbone": {"name": "tiny", "image_size": 128, "resize": "letterbox"}}},
        {"protocol": PRESETS["sd4match"].model_dump()},
        {"pairs": 899},
    ],
)
def test_another_frozen_backbone_or_protocol_is_not_set_beside_it(
    store: Store, make_record: Any, change: dict[str, Any]
) -> None:
    store.write(make_record("base", "frozen", 22.0, 0, **change))
    store.write(make_record("lora"))

    header, row = rows(printed(store, "lora"))

    assert "gain" not in header
    assert len(row) == len(header) == 6


def test_as_many_pairs_that_are_others_have_no_gain(store: Store, make_record: Any) -> None:
    scored(store, make_record, "base", 0, "frozen")
    scored(store, make_record, "lora", 1, "lora")
    written(
        [{**one, "truth_x": one["truth_x"] + 1} for one in drawn(0, {"cat": 5, "dog": 5})], store.root, "base"
    )

    header, _ = rows(printed(store, "lora"))
    assert "gain" not in header

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from peftcorr.report.table import print_leaderboard
from peftcorr.results.store import Store


@pytest.fixture
def filled(store: Store, make_record: Any, make_scores: Any) -> Store:
    store.write(make_record("frozen-1", "frozen", 22.0, 0))
    for seed in range(3):
        store.write(
            make_record(f"lora-{seed}", "lora", 60.0 + seed, 7_079_424, seed=seed, training={"steps": 9})
        )
    store.write(make_record("lora-9", "lora", 61.5, 7_079_424, training={"learning_rate": 0.0123}))
    scores = {"pf_willow/test": {"window_softargmax(radius=2,temperature=10)": make_scores(30.0, 900)}}
    store.write(make_record("a", "a_rather_long_name_for_a_strategy", scores=scores, official_weights=False,
                            weights_id="dinov2-small-saliency-and-more"))  # fmt: skip
    return store


def printed(store: Store, encoding: str = "utf-8", terminal: bool = False, **options: Any) -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=stream, width=100, force_terminal=terminal)
    print_leaderboard(store.root, console, **options)
    stream.flush()
    stream.seek(0)
    return stream.read()


def test_fits_in_100_columns_and_is_plain_without_a_terminal(filled: Store) -> None:
    text = printed(filled)
    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b" not in text
    assert "─" not in text
    for part in ("7,079,424", "1 min 30 s", "61.00", "3 seeds, ± 1.00 @0.1", "★", "128 px", "1.23 GB"):
        assert part in text


def test_a_terminal_that_knows_no_unicode_gets_plain_letters(filled: Store) -> None:
    text = printed(filled, encoding="ascii", terminal=True)
    assert "+- 1.00" in text


def test_only_the_tables_of_the_named_runs(filled: Store) -> None:
    text = printed(filled, run_ids=["lora-1"])
    assert "synthetic/test, argmax" in text
    assert "pf_willow" not in text
    assert "frozen" in text


def test_a_single_run_has_its_interval_below_its_name(
    store: Store, make_record: Any, make_scores: Any
) -> None:
    scores = {**make_scores(36.91, 900), "intervals": {"per_keypoint": {"0.1": [34.21, 39.46]}}}
    store.write(make_record("one", "lora", scores={"synthetic/test": {"argmax": scores}}))
    text = printed(store)
    assert "95 %: [34.2, 39.5] @0.1" in text.replace("\n", " ") or "[34.2, 39.5] @0.1" in text
    assert max(map(len, text.splitlines())) <= 100

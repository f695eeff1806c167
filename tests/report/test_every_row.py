from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from peftcorr.metrics.presets import AGGREGATES
from peftcorr.report.every_row import BEGINNING, every_row
from peftcorr.report.leaderboard import build_leaderboard
from tests.hostile import HOSTILE, assert_calm


def read(records: list[Any]) -> list[dict[str, str]]:
    text = every_row(build_leaderboard(records))
    assert text.startswith(BEGINNING)
    return list(csv.DictReader(io.StringIO(text)))


def test_every_row_has_every_aggregate_and_what_it_took(make_record: Any, make_scores: Any) -> None:
    scores = {**make_scores(50.0, 900), "intervals": {"per_image": {"0.1": [20.0, 30.0]}}}
    both = {"synthetic/test": {"argmax": scores, "softargmax": make_scores(51.0, 900)}}
    rows = read([make_record("a", scores=both), make_record("b", "frozen", 20.0, 0)])
    assert [(row["strategy"], row["predictor"]) for row in rows] == [
        ("lora", "argmax"), ("frozen", "argmax"), ("lora", "softargmax"),
    ]  # fmt: skip
    lora, frozen, _ = rows
    for aggregate in AGGREGATES:
        values = make_scores(50.0, 900)
        values |= {f"category_mean_{name}": one for name, one in values["category_mean"].items()}
        for alpha, value in values[aggregate].items():
            assert float(lora[f"{aggregate}@{alpha}"]) == value
    assert (lora["per_image@0.1_low"], lora["per_image@0.1_high"], lora["per_keypoint@0.1_low"]) == (
        "20",
        "30",
        "",
    )
    assert (lora["gain"], lora["adapter_bytes"], lora["peak_memory_bytes"]) == ("30", "4000", "1234000000")
    assert (frozen["trained_on"], frozen["seeds"], frozen["gain"], frozen["adapter_bytes"]) == (
        "",
        "",
        "",
        "0",
    )


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", HOSTILE, 'a",b', "a;b\tc"])
def test_a_name_is_text_for_a_spreadsheet(make_record: Any, name: str) -> None:
    [row] = read([make_record("a", weights_id=name, official_weights=False)])
    assert row["backbone"][0] not in "=+-@"
    assert_calm(row["backbone"])
    assert row["runs"] == "a"


def test_thresholds_of_all_boards_are_in_order(make_record: Any, make_scores: Any) -> None:
    scores = make_scores(50.0, 900)
    finer = {**scores, "per_keypoint": {"0.01": 1.0, "0.15": 2.0}}
    text = every_row(
        build_leaderboard([make_record("a"), make_record("b", scores={"other/test": {"argmax": finer}})])
    )
    header = text.splitlines()[0].split(",")
    alphas = [
        name.rpartition("@")[2] for name in header if name.startswith("per_keypoint") and "_" not in name[13:]
    ]
    assert alphas == ["0.01", "0.05", "0.1", "0.15", "0.2"]

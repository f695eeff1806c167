from __future__ import annotations

import itertools
import random
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from peftcorr.report.figure import draw
from peftcorr.report.leaderboard import Board, build_leaderboard
from peftcorr.report.rendering import svg

SVG = "{http://www.w3.org/2000/svg}"


def texts(picture: bytes) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def front(make_record: Any, seed: int, count: int = 8) -> Board:
    """A board whose every row is on the front, some as close to the next as rows can be."""
    place = random.Random(seed)
    accuracy, trainable, records = 20.0, 0, []
    for index in range(count):
        records.append(make_record(f"r{index}", "lora", accuracy, trainable, options={"rank": index}))
        accuracy += place.choice((0.01, 0.5, 6.0))
        trainable += place.choice((100, 10_000, 1_000_000))
    return build_leaderboard(records).sections[0].boards[0]


def test_the_front_alone_is_named(make_record: Any) -> None:
    records = [
        make_record("a", "frozen", 20.0, 0),
        make_record("b", "adapter", 60.0, 1000),
        make_record("c", "lora", 50.0, 5000, options={"rank": 8}),
        make_record(
            "d",
            "lora",
            70.0,
            9000,
            options={"rank": 32, "blocks": "all but one " * 20},
        ),
    ]
    board = build_leaderboard(records).sections[0].boards[0]
    shown = texts(draw("synthetic/test", board, ["frozen", "adapter", "lora"]))
    assert [shown.count(name) for name in ("frozen", "adapter", "lora")] == [2, 2, 2]  # once in the legend
    assert not any("rank" in text for text in shown)


@pytest.mark.parametrize("seed", range(6))
def test_no_name_covers_another_or_the_edge(make_record: Any, seed: int) -> None:
    picture = draw("synthetic/test", front(make_record, seed), ["lora"])
    boxes = []
    for element in ElementTree.fromstring(picture).iter(f"{SVG}text"):
        text, x, y = element.text or "", float(element.get("x", "0")), float(element.get("y", "0"))
        if text.startswith("lora") and y < 350:  # below stands the legend
            width = 5.2 * len(text)
            left = x - width if "text-anchor: end" in element.get("style", "") else x
            boxes.append((left, left + width, y - 7.0, y))
    assert len(boxes) >= 6
    assert all(left > 30 and right < 648 and top > 36 for left, right, top, _ in boxes)
    for one, other in itertools.combinations(boxes, 2):
        apart = one[1] < other[0] or other[1] < one[0] or one[3] < other[2] or other[3] < one[2]
        assert apart, (one, other)


@pytest.mark.parametrize("trainable", [[0], [5], [0, 900, 4_000_000_000], [7, 7], [None]])
def test_any_range_of_parameters_can_be_drawn(make_record: Any, trainable: list[int | None]) -> None:
    records = [
        make_record(f"r{index}", "a_plugin", 40.0, count or 0, options={"rank": index}).model_copy(
            update={"trainable_parameters": count}
        )
        for index, count in enumerate(trainable)
    ]
    board = build_leaderboard(records).sections[0].boards[0]
    picture = draw("synthetic/test", board, ["a_plugin"])
    assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert picture == draw("synthetic/test", board, ["a_plugin"])
    assert b"<dc:date>" not in picture


def test_a_figure_is_small_and_its_text_stays_text() -> None:
    def curve() -> Figure:
        figure = Figure(figsize=(4, 3))
        axes = figure.add_subplot()
        axes.plot([index / 7 for index in range(40)], [index**2 / 3 for index in range(40)])
        axes.set_title("rate 0.000123 <é> & more")
        return figure

    picture = svg(curve)
    assert len(picture) < 12_000
    assert picture.count(b"\n") == 1
    assert picture.startswith(b'<?xml version="1.0"')
    assert "rate 0.000123 <é> & more" in texts(picture)
    line = next(
        p for p in ElementTree.fromstring(picture).iter(f"{SVG}path") if p.get("d", "").count("L") > 20
    )
    assert all(len(number.partition(".")[2]) <= 2 for number in line.get("d", "").split())

from __future__ import annotations

import itertools
import random
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from peftcorr.report.figure import draw, training_sets
from peftcorr.report.leaderboard import Board, build_leaderboard
from peftcorr.report.marks import styles
from peftcorr.report.rendering import Format, svg

SVG = "{http://www.w3.org/2000/svg}"


def texts(picture: bytes) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def apart(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[1] < other[0] or other[1] < one[0] or one[3] < other[2] or other[3] < one[2]


def front(make_record: Any, seed: int, count: int = 8) -> Board:
    """A board whose every row is on the front, some as close to the next as rows can be."""
    place = random.Random(seed)
    accuracy, trainable, records = 20.0, 0, []
    for index in range(count):
        records.append(make_record(f"r{index}", "lora", accuracy, trainable, options={"rank": index}))
        accuracy += place.choice((0.01, 0.5, 6.0))
        trainable += place.choice((100, 10_000, 1_000_000))
    return build_leaderboard(records).sections[0].boards[0]


def boxes_of(picture: bytes, named: str, above: float) -> list[tuple[float, float, float, float]]:
    """Left, right, top and bottom of the names beside points, by the letters that they have."""
    boxes = []
    for element in ElementTree.fromstring(picture).iter(f"{SVG}text"):
        text, x, y = element.text or "", float(element.get("x", "0")), float(element.get("y", "0"))
        if text.startswith(named) and y < above:  # below stands the legend
            width = 5.2 * len(text)
            style = element.get("style", "")
            left = x - width if "anchor: end" in style else x - width / 2 if "anchor: middle" in style else x
            boxes.append((left, left + width, y - 7.0, y))
    return boxes


def marks_of(picture: bytes) -> list[tuple[float, float]]:
    """Centres of all marks, those of the legend too."""
    return [
        (float(use.get("x", "0")), float(use.get("y", "0")))
        for use in ElementTree.fromstring(picture).iter(f"{SVG}use")
        if "#0" in use.get("style", "") or "stroke" in use.get("style", "")
    ]


def test_the_front_alone_is_named_and_every_row_is_in_the_legend(make_record: Any) -> None:
    records = [
        make_record("a", "frozen", 20.0, 0),
        make_record("b", "adapter", 60.0, 1000),
        make_record("c", "lora", 50.0, 5000, options={"rank": 8}),
        make_record("d", "lora", 70.0, 9000, options={"rank": 32, "blocks": "all but one " * 20}),
    ]
    board = build_leaderboard(records).sections[0].boards[0]
    shown = texts(draw("synthetic/test", board, ["frozen", "adapter", "lora"]))
    assert [shown.count(name) for name in ("frozen", "adapter")] == [
        2,
        2,
    ]  # beside the point and in the legend
    assert len([text for text in shown if text.startswith("lora (rank 8")]) == 1, "which the adapter beats"
    longest = [text for text in shown if text.startswith("lora (rank 32, blocks all but one")]
    assert len(longest) == 2
    assert max(map(len, longest)) == 60, "and no longer"


def test_training_sets_have_figures_of_their_own(make_record: Any) -> None:
    records = [
        make_record("a", "frozen", 20.0, 0),
        make_record("b", "lora", 60.0, 1000, recipe={"dataset": {"name": "farm"}}, dataset="farm"),
        make_record("c", "adapter", 50.0, 5000),
    ]
    board = build_leaderboard(records).sections[0].boards[0]
    assert training_sets(board) == ["farm", "synthetic"]
    farm, synthetic = (
        texts(draw("x/test", board, ["frozen", "adapter", "lora"], name)) for name in training_sets(board)
    )
    assert "x/test, argmax, trained on farm" in farm
    assert "x/test, argmax, trained on synthetic" in synthetic
    assert ("lora" in farm, "adapter" in farm, "frozen" in farm) == (True, False, True)
    assert ("lora" in synthetic, "adapter" in synthetic, "frozen" in synthetic) == (False, True, True)


def test_steps_have_marks_of_their_own(make_record: Any) -> None:
    records = [make_record(f"r{steps}", "lora", 50.0, 900, training={"steps": steps}) for steps in (160, 400)]
    board = build_leaderboard(records).sections[0].boards[0]
    assert {"lora (steps 160)", "lora (steps 400)"} <= set(texts(draw("x/test", board, ["lora"])))
    found = styles([(row.strategy, row.label) for row in board.rows], ["lora"])
    assert len(set(found.values())) == 2


@pytest.mark.parametrize("seed", range(6))
def test_no_name_covers_another_or_the_edge(make_record: Any, seed: int) -> None:
    boxes = boxes_of(draw("synthetic/test", front(make_record, seed), ["lora"]), "lora", 350)
    assert len(boxes) >= 3
    assert all(left > 30 and right < 648 and top > 25 for left, right, top, _ in boxes)
    for one, other in itertools.combinations(boxes, 2):
        assert apart(one, other), (one, other)


def test_forty_strategies_in_one_figure(make_record: Any) -> None:
    """No two marks are equal, and no name lies on another or on a mark."""
    place = random.Random(0)
    names = [f"strategy_{number:02}" for number in range(40)]
    records = [
        make_record(name.replace("_", ""), name, place.uniform(20, 80), int(10 ** place.uniform(3, 7)))
        for name in names
    ]
    board = build_leaderboard(records).sections[0].boards[0]
    found = styles([(row.strategy, row.label) for row in board.rows], names)
    assert len(found) == len(set(found.values())) == 40
    assert len({style.shape + style.colour for style in found.values()}) == 40

    picture = draw("synthetic/test", board, names)
    shown = texts(picture)
    assert {name for name in names if name in shown} == set(names), "each is in the legend"
    boxes = boxes_of(picture, "strategy_", 350)
    assert len(boxes) >= 3
    for one, other in itertools.combinations(boxes, 2):
        assert apart(one, other), (one, other)
    marks = [(x, y) for x, y in marks_of(picture) if y < 350]
    assert len(marks) >= 40
    for left, right, top, bottom in boxes:
        assert not [1 for x, y in marks if left < x + 4 and x - 4 < right and top < y + 4 and y - 4 < bottom]


def test_marks_look_different() -> None:
    """As pixels: of forty strategies, and of the ways to fill one shape."""
    names = [f"s{number}" for number in range(40)]
    rows = [(name, name) for name in names] + [("s0", f"s0 ({number})") for number in range(5)]
    found = list(styles(rows, names).values())
    assert len(found) == 45
    figure = Figure(figsize=(45 * 0.4, 0.4), dpi=120)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-0.5, 44.5)
    for number, style in enumerate(found):
        axes.plot(number, 0, **style.options())
    canvas.draw()
    cells = np.asarray(canvas.buffer_rgba())[..., :3].reshape(48, 45, 48, 3).swapaxes(0, 1).astype(int)
    for one, other in itertools.combinations(range(45), 2):
        differing = (np.abs(cells[one] - cells[other]).sum(-1) > 60).sum()
        assert differing >= 25, (found[one], found[other], differing)


def test_marks_do_not_come_round_again() -> None:
    rows = [(f"s{number % 150}", f"s{number % 150} ({number})") for number in range(1500)]
    found = styles(rows, [])
    assert len(found) == len(set(found.values())) == 1500


def test_a_strategy_keeps_its_mark_in_all_figures() -> None:
    names = ["vpt", "ssf", "bitfit"]
    alone = styles([("ssf", "ssf")], names)["ssf"]
    assert styles([("vpt", "vpt"), ("lora", "lora"), ("ssf", "ssf")], names)["ssf"] == alone


@pytest.mark.parametrize(("kind", "begin"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")])
def test_each_format_gives_the_same_bytes_again(make_record: Any, kind: Format, begin: bytes) -> None:
    board = build_leaderboard([make_record("a")]).sections[0].boards[0]
    first, second = (draw("synthetic/test", board, ["lora"], kind=kind) for _ in range(2))
    assert first == second
    assert first.startswith(begin)


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

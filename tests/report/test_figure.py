from __future__ import annotations

import random
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from peftcorr.report.figure import draw
from peftcorr.report.labelling import label_points
from peftcorr.report.leaderboard import build_leaderboard


@pytest.mark.parametrize("count", [1, 8, 25])
def test_no_label_covers_another_a_point_or_the_edge(count: int) -> None:
    figure = Figure(figsize=(9, 5), dpi=72)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.08, 0.1, 0.9, 0.85))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    place = random.Random(count)
    points = [(place.uniform(0.05, 0.95), place.uniform(0.05, 0.95)) for _ in range(count)]
    label_points(axes, points, [f"lora (rank {index})" for index in range(count)], size=9)
    renderer = canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in axes.texts if text.get_text()]
    assert len(boxes) >= 0.9 * count
    frame = axes.get_window_extent(renderer)
    for index, box in enumerate(boxes):
        assert frame.x0 <= box.x0 <= box.x1 <= frame.x1
        assert frame.y0 <= box.y0 <= box.y1 <= frame.y1
        assert not any(box.overlaps(other) for other in boxes[:index])
        assert not any(box.contains(*centre) for centre in axes.transData.transform(points))


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

"""How a run comes from two pictures to a point: pictures, backbone and strategy, features, similarity, prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyBboxPatch, Rectangle
from numpy.typing import NDArray

from peftcorr.report.rendering import FONT, Format, label_of, rendered
from peftcorr.report.side_by_side import COLOURS, NAMES, Mark, Pixels

_WIDE, _HIGH = 11.0, 4.2  # inches
_QUERY = "#f0e442"
_EDGE, _COLD, _WARM = "#57606a", "#dbe4ee", "#f6b26b"
_STAGES = ("dataset", "backbone and strategy", "features", "matching", "prediction")
_SHAPES = {"found": "D", "right": "o", "wrong": "X", "mirrored": "^", "hidden": "s"}

Place = tuple[float, float, float, float]  # left, bottom, width, height as shares of the figure


@dataclass(frozen=True)
class Stages:
    """What stands in the figure.

    Attributes:
        dataset: name of the split.
        backbone, strategy, predictor: names.
        trained: how many parameters, in words.
        blocks: of the backbone, and the first one that is trained; equal where none is.
        source, target: (H, W, 3) uint8.
        features: of both, as colours, (h, w, 3) uint8.
        similarity: of the query with each pixel of the target, (H, W).
        mark: the query, its prediction and its truth.
        category: of the pair.
    """

    dataset: str
    backbone: str
    strategy: str
    predictor: str
    trained: str
    blocks: tuple[int, int]
    source: Pixels
    target: Pixels
    features: tuple[Pixels, Pixels]
    similarity: NDArray[np.float32]
    mark: Mark
    category: str


def draw_overview(stages: Stages, kind: Format = "png") -> bytes:
    """Return the figure, from left to right: two pictures, the model, its features, a map of similarity, the point."""
    return rendered(lambda: _figure(stages), kind)


def components(features: NDArray[np.float32]) -> tuple[Pixels, Pixels]:
    """Two feature maps (2, C, h, w) as pictures (h, w, 3): their three main components as red, green and blue.

    Both share their components, so that one colour means one thing; each location counts by its direction alone.
    """
    _, channels, height, width = features.shape
    flat = features.transpose(0, 2, 3, 1).reshape(-1, channels).astype(np.float64)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    centred = flat - flat.mean(axis=0)
    main = np.linalg.eigh(centred.T @ centred)[1][:, -3:][:, ::-1]
    # A direction has no sign of its own: by that of its largest entry the picture is the same everywhere.
    main = main * np.sign(main[np.abs(main).argmax(axis=0), np.arange(main.shape[1])])
    found = centred @ main
    low, high = np.quantile(found, [0.02, 0.98], axis=0)
    scaled = ((found - low) / np.maximum(high - low, 1e-12)).clip(0, 1)
    pictures = (255 * scaled).round().astype(np.uint8).reshape(2, height, width, 3)
    return pictures[0], pictures[1]


def _figure(stages: Stages) -> Figure:
    figure = Figure(figsize=(_WIDE, _HIGH), dpi=72)
    FigureCanvasAgg(figure)
    left = (0.01, 0.21, 0.41, 0.61, 0.81)
    wide = 0.165
    for name, x in zip(_STAGES, left, strict=True):
        figure.text(x + wide / 2, 0.95, name, ha="center", weight="bold", fontsize=FONT + 1)
    for x in left[1:]:
        figure.text(x - 0.0175, 0.5, "→", ha="center", va="center", fontsize=18, color=_EDGE)
    pairs = ((stages.source, stages.target), stages.features)
    for x, pictures in ((left[0], pairs[0]), (left[2], pairs[1])):
        for bottom, name, picture in ((0.53, "source", pictures[0]), (0.12, "target", pictures[1])):
            axes = _picture(figure, (x, bottom, wide, 0.37), picture, name)
            if name == "source" and picture is stages.source:
                _query(axes, stages.mark.source)
            elif name == "source":
                scale = picture.shape[1] / stages.source.shape[1], picture.shape[0] / stages.source.shape[0]
                x0, y0 = ((v + 0.5) * s - 0.5 for v, s in zip(stages.mark.source, scale, strict=True))
                _query(axes, (x0, y0))
    _model(figure, (left[1], 0.12, wide, 0.78), stages)
    axes = _picture(figure, (left[3], 0.3, wide, 0.42), stages.target, "cosine with the query")
    axes.imshow(stages.similarity, cmap="viridis", alpha=0.7, interpolation="bilinear")
    axes = _picture(figure, (left[4], 0.3, wide, 0.42), stages.target, _told(stages.mark))
    _prediction(axes, stages.mark)
    for x, words in zip(
        left,
        (
            (stages.dataset, stages.category),
            (stages.strategy, stages.trained),
            ("colours: main components", ""),
            ("query: yellow diamond", ""),
            (stages.predictor, "ring: what counts as right"),
        ),
        strict=True,
    ):
        _words(figure, x + wide / 2, words)
    return figure


def _words(figure: Figure, x: float, words: Sequence[str]) -> None:
    for line, text in enumerate(words):
        figure.text(x, 0.06 - 0.045 * line, label_of(text, 34), ha="center", va="center", fontsize=FONT - 0.5)


def _picture(figure: Figure, place: Place, picture: Pixels, name: str) -> Any:
    axes = figure.add_axes(place)
    axes.imshow(picture, interpolation="nearest" if min(picture.shape[:2]) < 100 else "antialiased")
    axes.set_axis_off()
    axes.set_title(name, fontsize=FONT - 0.5, pad=2, loc="center")
    return axes


def _query(axes: Any, place: tuple[float, float]) -> None:
    axes.plot(*place, marker="D", markersize=7, color=_QUERY, markeredgecolor="black", clip_on=False)


def _told(mark: Mark) -> str:
    return NAMES[mark.kind]


def _prediction(axes: Any, mark: Mark) -> None:
    colour = COLOURS[mark.kind]
    if mark.truth is not None:
        axes.plot(*mark.truth, marker="+", markersize=8, color=colour, markeredgewidth=2)
        if mark.reach is not None:
            width, height = (2 * length for length in mark.reach)
            axes.add_patch(Ellipse(mark.truth, width, height, fill=False, edgecolor="white", linewidth=3))
            axes.add_patch(Ellipse(mark.truth, width, height, fill=False, edgecolor=colour, linewidth=1.5))
    shape = _SHAPES[mark.kind]
    axes.plot(*mark.prediction, marker=shape, markersize=8, color=colour, markeredgecolor="white")


def _model(figure: Figure, place: Place, stages: Stages) -> None:
    """The blocks of the backbone, from below; those that the strategy changes stand out."""
    axes = figure.add_axes(place)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_axis_off()
    edge: dict[str, Any] = {"edgecolor": _EDGE, "linewidth": 0.8}
    axes.add_patch(
        FancyBboxPatch((0.06, 0.04), 0.88, 0.92, boxstyle="round,pad=0.02", facecolor="white", **edge)
    )
    axes.text(0.5, 0.92, label_of(stages.backbone, 26), ha="center", va="center", fontsize=FONT - 0.5)
    blocks, first = stages.blocks
    step = 0.8 / max(blocks, 1)
    for number in range(blocks):
        bottom = 0.06 + number * step
        axes.add_patch(Rectangle((0.12, bottom), 0.56, 0.82 * step, facecolor=_COLD, **edge))
        if number >= first:
            axes.add_patch(
                Rectangle((0.72, bottom), 0.16, 0.82 * step, facecolor=_WARM, hatch="////", **edge)
            )
    for name, low, high in (("frozen", 0, first), ("trained", first, blocks)):
        if low < high:
            middle = 0.06 + (low + high - 0.18) * step / 2
            paper = {"facecolor": "white", "edgecolor": "none", "pad": 2}
            axes.text(0.4, middle, name, ha="center", va="center", fontsize=FONT - 1, bbox=paper)

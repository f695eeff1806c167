"""PCK over the threshold as an SVG."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from peftcorr.metrics.breakdown import CURVE, Breakdown
from peftcorr.report.rendering import label_of, svg

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito's palette
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (9, 3)))


def draw_curve(title: str, found: Mapping[str, Breakdown]) -> bytes:
    """Return the figure of one split as SVG, the same bytes for the same numbers.

    Args:
        title: what was scored.
        found: by predictor; each is a line of PCK per keypoint with its 95 % interval as a band.
    """
    return svg(lambda: _figure(title, found))


def _figure(title: str, found: Mapping[str, Breakdown]) -> Figure:
    figure = Figure(figsize=(6.5, 4.2), dpi=72, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, (predictor, parts) in enumerate(found.items()):
        # Thirty lines before one looks like another: six colours and five dashes meet again after that.
        colour = _COLOURS[number % len(_COLOURS)]
        if parts.curve_intervals is not None:
            low, high = np.moveaxis(parts.curve_intervals[0], -1, 0)
            axes.fill_between(CURVE, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            CURVE,
            parts.curve[0],
            color=colour,
            linestyle=_DASHES[number % len(_DASHES)],
            label=label_of(predictor),
        )
    axes.set_xlim(0, CURVE[-1])
    axes.set_ylim(0, 100)
    axes.set_xlabel("threshold, as a share of the reference length")
    axes.set_ylabel("PCK per keypoint (%)")
    axes.set_title(label_of(title), weight="bold")
    axes.grid()
    axes.legend(loc="lower right")
    return figure

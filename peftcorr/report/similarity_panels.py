"""Maps of similarity laid over a picture, a panel a keypoint."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from peftcorr.errors import visible
from peftcorr.report.matches import Keypoint
from peftcorr.report.side_by_side import FINER, GAP, SIDE, Panel, Pen, Pixels

MOST = 4  # panels of a pair
_SIDE = (2 * SIDE - (MOST - 2) * GAP) // MOST - 1
_CAPTION = 36
_VEIL = 0.6  # of the map over the picture
_LETTERS = 34
_PAPER, _INK = "#ffffff", "#1f2328"


def similarity_panels(
    target: Pixels, maps: NDArray[np.float32], keypoints: Sequence[Keypoint]
) -> Image.Image:
    """Draw maps (K, H, W) of similarity over their picture, each from its own lowest to its own highest value.

    Args:
        target: (H, W, 3) uint8.
        maps: of the first keypoints.
        keypoints: K of them, with their marks.
    """
    place = Panel.of(target, _SIDE)
    step = place.width + GAP
    drawn = Image.new("RGB", (len(maps) * step - GAP, place.height + _CAPTION), _PAPER)
    for number, (values, keypoint) in enumerate(zip(maps, keypoints, strict=True)):
        drawn.paste(_panel(target, values, keypoint, place), (number * step, 0))
    return drawn


def _panel(target: Pixels, values: NDArray[np.float32], keypoint: Keypoint, place: Panel) -> Image.Image:
    low, high = float(values.min()), float(values.max())
    heat = colormaps["viridis"]((values - low) / max(high - low, 1e-6))[..., :3] * 255
    mixed = (_VEIL * heat + (1 - _VEIL) * target).round().astype(np.uint8)
    fine = place.drawn(mixed).resize((place.width * FINER, place.height * FINER), Image.Resampling.NEAREST)
    pen = Pen(ImageDraw.Draw(fine))
    pen.ring(place, keypoint.mark)
    pen.marker(place.place(keypoint.mark.prediction), keypoint.mark.kind)
    panel = Image.new("RGB", (place.width, place.height + _CAPTION), _PAPER)
    panel.paste(fine.reduce(FINER), (0, 0))
    text, font = ImageDraw.Draw(panel), ImageFont.load_default(12)
    for line, words in enumerate((keypoint.name, f"{low:.2f} (dark) to {high:.2f}")):
        plain = visible(words).encode("ascii", "replace").decode()[:_LETTERS]
        text.text((2, place.height + 3 + 15 * line), plain, _INK, font)
    return panel

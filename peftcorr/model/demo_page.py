"""What the demo shows: pictures with marks and maps over them, as HTML whose every picture says what it is."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from peftcorr.data.given import Picture
from peftcorr.report.match_page import escaped
from peftcorr.report.side_by_side import COLOURS

Point = tuple[float, float]  # x, y in pixels of its picture, pixel centres on integers

_SIDE = 1024  # longer side of what the browser is sent, in pixels
_MAP_SIDE = 512
_VEIL = 0.6  # of a map over its picture

CSS = """
.gradio-container .pictures { display: flex; flex-wrap: wrap; gap: 12px; }
.gradio-container .pictures figure { flex: 1 1 220px; margin: 0; min-width: 0; }
.gradio-container .picture { position: relative; overflow: hidden; line-height: 0; }
.gradio-container .picture img { width: 100%; height: 100%; margin: 0; }
.gradio-container .picture img.map, .gradio-container .picture svg {
  position: absolute; inset: 0; width: 100%; height: 100%; pointer-events: none;
}
.gradio-container figcaption { font-size: 0.9rem; margin-top: 4px; }
.gradio-container dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 12px; margin: 8px 0; }
.gradio-container dt { font-weight: 600; }
.gradio-container dd { margin: 0; font-variant-numeric: tabular-nums; }
#source .picture { cursor: crosshair; }
"""

CLICKED = """
element.addEventListener('click', event => {
  const picture = event.target.closest('[data-width]');
  if (!picture) return;
  const box = picture.getBoundingClientRect();
  const place = (share, pixels) => Math.min(Math.max(share * pixels - 0.5, 0), pixels - 1);
  trigger('click', {
    x: place((event.clientX - box.left) / box.width, Number(picture.dataset.width)),
    y: place((event.clientY - box.top) / box.height, Number(picture.dataset.height)),
  });
});
"""
"""Tells a click on a picture in that picture's own pixels."""

LOADED = """() => {
  const hide = () => document.querySelectorAll('svg:not([aria-hidden]):not([aria-label])')
    .forEach(one => one.setAttribute('aria-hidden', 'true'));
  new MutationObserver(hide).observe(document.body, {childList: true, subtree: true});
  hide();
}"""
"""Takes Gradio's nameless ornaments from what a screen reader says: every control has its name beside them."""


@dataclass(frozen=True)
class Found:
    """What one model says of a point.

    Attributes:
        point: where it was found in the target.
        similarity: there, the highest of all.
        heat: of every pixel of the target, (H, W).
        seconds: that the match took.
    """

    point: Point
    similarity: float
    heat: NDArray[np.float32]
    seconds: float


class Drawing:
    """Draws pictures as HTML; what was sent to the browser of a picture is encoded once."""

    def __init__(self) -> None:
        self._sent: dict[str, str] = {}

    def picture(
        self,
        picture: Picture | None,
        name: str,
        point: Point | None = None,
        more: str = "",
        height: int = 360,
    ) -> str:
        """One picture, with a mark on a point.

        Args:
            picture: None where none was chosen.
            name: says what it is, to those who cannot see it too.
            point: that is marked.
            more: HTML over the picture, below the mark.
            height: in the page at most, in CSS pixels.
        """
        if picture is None:
            return f"<p>{escaped(name)}: none yet.</p>"
        width, tall = picture.size
        marked = "" if point is None else f", with a mark at {place(point)}"
        alt = escaped(f"{name}, {width} by {tall} pixels{marked}")
        style = f"width: min(100%, {height * width / tall:.0f}px); aspect-ratio: {width} / {tall}"
        return (
            f'<div class="picture" data-width="{width}" data-height="{tall}" style="{style}">'
            f'<img src="{self._address(picture)}" alt="{alt}">{more}{_mark(picture, point)}</div>'
        )

    def found(self, name: str, target: Picture, found: Found) -> str:
        """What one model found in the target: the match, the map and the numbers."""
        low, high = float(found.heat.min()), float(found.heat.max())
        shown = escaped(name)
        x, y = found.point
        match = self.picture(target, "Target picture", found.point)
        veil = (
            f'<img class="map" alt="" style="opacity: {_VEIL}" src="{_heat_address(found.heat, low, high)}">'
        )
        heat = self.picture(target, "Heat map over the target picture", found.point, veil)
        return (
            f'<section aria-label="What {escaped(name)} found"><div class="pictures">'
            f"<figure>{match}<figcaption>Match</figcaption></figure>"
            f"<figure>{heat}<figcaption>Similarity of every pixel, from {low:.2f} (dark) to {high:.2f} (bright)"
            "</figcaption></figure></div>"
            f"<dl><dt>Model</dt><dd>{shown}</dd>"
            f'<dt>Match</dt><dd>x <data value="{x!r}">{x:.1f}</data>, y <data value="{y!r}">{y:.1f}</data></dd>'
            f'<dt>Similarity</dt><dd><data value="{found.similarity!r}">{found.similarity:.3f}</data></dd>'
            f"<dt>Time</dt><dd>{found.seconds * 1000:,.0f} ms</dd></dl></section>"
        )

    def _address(self, picture: Picture) -> str:
        if picture.key not in self._sent:
            if len(self._sent) >= 32:
                self._sent.clear()
            image = Image.fromarray(picture.pixels)
            image.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC)
            self._sent[picture.key] = _data(image, "JPEG", quality=90)
        return self._sent[picture.key]


def status(text: str) -> str:
    """A line that a screen reader says as soon as it is there."""
    return f'<p role="status">{escaped(text)}</p>'


def place(point: Sequence[float]) -> str:
    """A point in words."""
    return f"x {point[0]:.1f}, y {point[1]:.1f}"


def _heat_address(heat: NDArray[np.float32], low: float, high: float) -> str:
    step = max(1, -(-max(heat.shape) // _MAP_SIDE))
    values = (heat[::step, ::step] - low) / max(high - low, 1e-6)
    colours = (colormaps["viridis"](values)[..., :3] * 255).round().astype(np.uint8)
    return _data(Image.fromarray(colours), "PNG")


def _data(image: Image.Image, form: str, **options: int) -> str:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"


def _mark(picture: Picture, point: Point | None) -> str:
    """A ring with a cross in it, white below its colour, so that it is seen on any ground."""
    if point is None:
        return ""
    width, height = picture.size
    x, y = point
    inner, outer = 0.012 * max(width, height), 0.03 * max(width, height)
    lines = "".join(
        f"M{x + dx * inner:.2f} {y + dy * inner:.2f}L{x + dx * outer:.2f} {y + dy * outer:.2f}"
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))
    )
    shapes = "".join(
        f'<g fill="none" stroke="{colour}" stroke-width="{thick}">'
        f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{inner:.2f}" vector-effect="non-scaling-stroke"/>'
        f'<path d="{lines}" vector-effect="non-scaling-stroke"/></g>'
        for colour, thick in (("#ffffff", 5), (COLOURS["wrong"], 2))
    )
    return f'<svg viewBox="-0.5 -0.5 {width} {height}" aria-hidden="true">{shapes}</svg>'

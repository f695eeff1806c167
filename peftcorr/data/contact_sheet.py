"""A contact sheet: annotated images side by side with their keypoints drawn, to be looked through by eye."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from peftcorr.data.images import decode
from peftcorr.data.suspects import AnnotatedImage
from peftcorr.errors import PeftCorrError, visible

MOST = 120  # images of a sheet

_COLUMNS, _SIDE, _CAPTION, _GAP = 8, 236, 34, 8  # pixels, but for the first
_LETTERS = 36  # of a line below an image
_PAPER, _INK, _FAINT, _ALARM = "#ffffff", "#1f2328", "#6e7781", "#cf222e"
_ODD = 2.5  # suspicion from which on the reason is printed in colour


def contact_sheet(suspects: Sequence[AnnotatedImage], roots: Mapping[str, Path]) -> Image.Image:
    """Draw the first `MOST` of some annotated images.

    Args:
        suspects: in the order in which they are drawn.
        roots: image folder of each split.

    Returns:
        RGB image; a keypoint has one colour in all images of a category, the suspected one a red ring.
    """
    shown = suspects[:MOST]
    colours = _colours(suspects)
    columns = min(_COLUMNS, max(1, len(shown)))
    rows = -(-len(shown) // columns) or 1
    step = (_SIDE + _GAP, _SIDE + _CAPTION + _GAP)
    sheet = Image.new("RGB", (columns * step[0] + _GAP, rows * step[1] + _GAP), _PAPER)
    for index, one in enumerate(shown):
        corner = (_GAP + index % columns * step[0], _GAP + index // columns * step[1])
        sheet.paste(_cell(one, roots[one.split], colours[one.category]), corner)
    return sheet


def _colours(annotated: Sequence[AnnotatedImage]) -> dict[str, dict[str, str]]:
    """A colour for each keypoint's name, as different as they can be inside a category."""
    names: dict[str, set[str]] = {}
    for one in annotated:
        names.setdefault(one.category, set()).update(one.names)
    return {
        category: {name: _hue(number / len(found)) for number, name in enumerate(sorted(found))}
        for category, found in names.items()
    }


def _hue(share: float) -> str:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(share, 0.85, 1.0))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _cell(one: AnnotatedImage, root: Path, colours: Mapping[str, str]) -> Image.Image:
    """One image with its keypoints, its name and why it is suspected."""
    cell = Image.new("RGB", (_SIDE, _SIDE + _CAPTION), _PAPER)
    pen = ImageDraw.Draw(cell)
    try:
        image = Image.fromarray(decode(root / one.image, one.size))
    except PeftCorrError:
        pen.rectangle((0, 0, _SIDE - 1, _SIDE - 1), outline=_ALARM)
    else:
        scale = _SIDE / max(image.size)
        extent = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        left, top = (_SIDE - extent[0]) // 2, (_SIDE - extent[1]) // 2
        cell.paste(image.resize(extent, Image.Resampling.BICUBIC), (left, top))
        places = np.clip((one.points + 0.5) * scale + (left, top), 0, _SIDE - 1)
        radius = 4 if np.ptp(places, axis=0).max(initial=0) > _SIDE / 4 else 2
        for number, (x, y) in enumerate(places.tolist()):
            _dot(pen, x, y, radius, colours[one.names[number]])
            if number == one.worst and one.suspicion >= _ODD:
                pen.ellipse((x - 9, y - 9, x + 9, y + 9), outline=_ALARM, width=2)
    font = ImageFont.load_default(12)
    pen.text((2, _SIDE + 2), _line(f"{one.split}: {one.image}", tail=True), _INK, font)
    pen.text((2, _SIDE + 17), _line(one.why), _ALARM if one.suspicion >= _ODD else _FAINT, font)
    return cell


def _dot(pen: ImageDraw.ImageDraw, x: float, y: float, radius: int, colour: str) -> None:
    for grown, fill in ((radius + 2, "#000000"), (radius + 1, "#ffffff"), (radius, colour)):
        pen.ellipse((x - grown, y - grown, x + grown, y + grown), fill=fill)


def _line(text: str, tail: bool = False) -> str:
    """A line that fits below an image, in letters that any font has; of a path the end says more."""
    plain = visible(text).encode("ascii", "replace").decode()
    if len(plain) <= _LETTERS:
        return plain
    return f"...{plain[3 - _LETTERS :]}" if tail else f"{plain[: _LETTERS - 3]}..."

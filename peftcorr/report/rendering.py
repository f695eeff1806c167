"""From a figure of Matplotlib to the bytes of a file, the same for the same figure."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from typing import Any, Literal, get_args

import matplotlib
from matplotlib.figure import Figure

from peftcorr.errors import shortened

Format = Literal["svg", "pdf", "png"]
FORMATS: tuple[Format, ...] = get_args(Format)

FONT = 9.5
_PIXELS = 200  # an inch of a PNG
_SETTINGS: dict[str, Any] = {
    "svg.hashsalt": "peftcorr",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # letters that can be searched and edited, which conferences ask for
    "font.size": FONT,
    "font.sans-serif": [
        "DejaVu Sans",
        "Verdana",
        "Arial",
    ],  # the second is as wide where the first is missing
    "text.parse_math": False,  # a dollar in a name is a dollar
    "axes.unicode_minus": False,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "legend.frameon": False,
}
# What of a file's metadata would change from day to day or from version to version.
_METADATA: dict[Format, dict[str, None]] = {
    "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
    "pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")),
    "png": {"Software": None},
}
_COMMENT = re.compile("<!--.*?-->")
_DECIMALS = re.compile(r"\d+\.\d{3,}(?=[^<>]*>)")  # of a tag, not of a text between two


def rendered(make: Callable[[], Figure], kind: Format) -> bytes:
    """Return the figure that `make` makes as a file of some kind; the same bytes for the same figure."""
    return svg(make) if kind == "svg" else _saved(make, kind)


def svg(make: Callable[[], Figure]) -> bytes:
    """Return the figure that `make` makes as a small SVG; the same bytes for the same figure.

    Text stays text, coordinates have two decimals (units of 1/72 inch), and all is one line.
    """
    text = _COMMENT.sub("", _saved(make, "svg").decode())
    text = _DECIMALS.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), text)
    found = " ".join(text.split()).replace("> <", "><").encode() + b"\n"
    ElementTree.fromstring(found)  # a reader would show nothing of what is not well-formed
    return found


def label_of(name: str, most: int = 60) -> str:
    """A name as a figure has it: control characters, of which XML has none, written out, and not too long to be drawn.

    Matplotlib leaves what begins with an underscore out of a legend; a space before it keeps it in.
    """
    text = shortened(" ".join(name.split()), most)
    return f" {text}" if text.startswith("_") else text


def _saved(make: Callable[[], Figure], kind: Format) -> bytes:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # the user's matplotlibrc must not change the bytes
        matplotlib.rcParams.update(_SETTINGS)
        stream = io.BytesIO()
        dpi: float | str = _PIXELS if kind == "png" else "figure"
        make().savefig(stream, format=kind, metadata=_METADATA[kind], dpi=dpi)
    return stream.getvalue()

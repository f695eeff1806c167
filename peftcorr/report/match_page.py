"""A page of drawn matches that opens from disk: no script, nothing from elsewhere, every text escaped."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from dataclasses import dataclass

from peftcorr.console.numbers import MISSING
from peftcorr.errors import visible
from peftcorr.report.matches import Pair
from peftcorr.report.side_by_side import NAMES

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2328; background: #fff; margin: 0 auto; max-width: 1000px;
  padding: 1rem; overflow-wrap: anywhere }
figure { margin: 2rem 0; border-top: 1px solid #d0d7de; padding-top: 1rem }
figcaption { margin-bottom: .5rem }
img { display: block; max-width: 100%; height: auto; margin-top: .5rem }
table { border-collapse: collapse; margin: .5rem 0 }
th, td { text-align: left; padding: .1rem .8rem .1rem 0 }
td.number { text-align: right; font-variant-numeric: tabular-nums }
.quiet { color: #57606a }
"""

_MEANING = (
    "Each line runs from a keypoint of the source to where it was found in the target. A disc and an unbroken line: "
    "right. A cross and long dashes: wrong. A triangle, dashes and dots: left taken for right, nearer to the mirrored "
    "keypoint than to its own. A square and dots: hidden in the target, where its truth is no place, so it does not "
    "count. The small plus is the truth, and the ring round it holds all that counts as right; a thin white line joins "
    "it to a prediction that does not."
)
_OVERVIEW = (
    "How the run comes to a point: two pictures, the backbone with its strategy, their features as colours, the "
    "similarity of a query with every place of the target, and the prediction beside the truth"
)


@dataclass(frozen=True)
class Drawn:
    """One picture of a page.

    Attributes:
        file: of the picture, beside the page.
        pair: what it shows, as one or both runs have it: (name of the run, pair).
        maps: file with the maps of similarity; empty if there are none.
    """

    file: str
    pair: tuple[tuple[str, Pair], ...]
    maps: str = ""


@dataclass(frozen=True)
class Part:
    """A heading, a sentence and pictures."""

    title: str
    sentence: str
    drawn: tuple[Drawn, ...]


def page(
    title: str, facts: Sequence[tuple[str, str]], parts: Sequence[Part], overview: str | None = None
) -> str:
    """Return the page as HTML.

    Args:
        title: what was drawn.
        facts: names and values for the top of the page: the run, the split, the threshold.
        parts: the pictures.
        overview: file of the figure that shows how the run comes to its points.
    """
    own = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    # From disk a page has no origin that 'self' could mean in every browser.
    policy = f"default-src 'none'; img-src 'self' file:; style-src 'sha256-{own}'; base-uri 'none'; form-action 'none'"
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{escaped(title)}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        "<main>",
        f"<h1>{escaped(title)}</h1>",
        "<table>",
        *(f'<tr><th scope="row">{escaped(name)}</th><td>{escaped(value)}</td></tr>' for name, value in facts),
        "</table>",
        *([] if overview is None else [f'<img src="{escaped(overview)}" alt="{_OVERVIEW}">']),
        f"<p>{escaped(_MEANING)}</p>",
    ]
    for part in parts:
        lines += [f"<h2>{escaped(part.title)}</h2>", f"<p>{escaped(part.sentence)}</p>"]
        for number, drawn in enumerate(part.drawn, 1):
            lines += _figure(number, drawn)
    return "\n".join([*lines, "</main>", "</body>", "</html>", ""])


def summary(pair: Pair) -> str:
    """What became of the keypoints of a pair, in a few words: ``3 of 12 right, 9 wrong``."""
    counts = pair.counts()
    seen = sum(number for kind, number in counts.items() if kind != "hidden")
    rest = (f"{number} {NAMES[kind]}" for kind, number in counts.items() if kind != "right")
    return ", ".join([f"{counts.get('right', 0)} of {seen} right", *rest])


def _figure(number: int, drawn: Drawn) -> list[str]:
    pair = drawn.pair[0][1]
    told = "; ".join(
        f"{name}: {summary(one)}" if len(drawn.pair) > 1 else summary(one) for name, one in drawn.pair
    )
    what = f"{pair.category}: {pair.source_image} beside {pair.target_image}"
    lines = [
        "<figure>",
        f"<figcaption><strong>{number}. {escaped(pair.category)}</strong>, {escaped(told)}"
        f'<br><span class="quiet">pair {escaped(pair.pair_id)}: from {escaped(pair.source_image)} to '
        f"{escaped(pair.target_image)}</span></figcaption>",
        f'<img src="{escaped(drawn.file)}" alt="{escaped(f"{what}. {told}.")}">',
    ]
    if drawn.maps:
        alt = f"Similarity of keypoints of {pair.source_image} with every place of {pair.target_image}"
        lines.append(f'<img src="{escaped(drawn.maps)}" alt="{escaped(alt)}">')
    lines += ["<details>", "<summary>Keypoints</summary>"]
    for name, one in drawn.pair:
        lines += _table(name if len(drawn.pair) > 1 else "", one)
    return [*lines, "</details>", "</figure>"]


def _table(name: str, pair: Pair) -> list[str]:
    rows = [
        f'<tr><th scope="row">{escaped(keypoint.name)}</th><td>{NAMES[keypoint.mark.kind]}</td>'
        f'<td class="number">{_number(keypoint.error)}</td>'
        f'<td class="number">{_number(keypoint.similarity)}</td></tr>'
        for keypoint in pair.keypoints
    ]
    caption = [f"<caption>{escaped(name)}</caption>"] if name else []
    head = ("keypoint", "", "error / s", "similarity")
    header = "".join(f'<th scope="col">{text}</th>' for text in head)
    return ["<table>", *caption, f"<tr>{header}</tr>", *rows, "</table>"]


def _number(value: float) -> str:
    return f"{value:.3f}" if value == value else MISSING  # NaN is equal to nothing


def escaped(text: str) -> str:
    """Text of others, which stays text; control characters are written out."""
    return html.escape(visible(text))

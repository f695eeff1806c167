"""How a row is drawn: shapes, colours and fills, of which no two rows of a figure have the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

# Shape and fill tell rows apart on paper and without colour; colour (Okabe and Ito's palette first) only helps.
_FIRST = ("frozen", "last_k", "lora", "adapter", "adaptformer")
_SHAPES = "s^oDvPXp<>h*"
_COLOURS = (
    "#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#44AA99",
)  # fmt: skip
_SIZES = {
    "P": 11.0,
    "X": 11.0,
    "*": 13.0,
    "D": 7.0,
}  # points; slim shapes are larger, so that their fill shows
_FILLS = ("full", "none", "left", "bottom", "right", "top")


@dataclass(frozen=True)
class Style:
    """How one row is drawn: shape, colour and which part is filled."""

    shape: str
    colour: str
    fill: str = "full"

    def options(self) -> dict[str, Any]:
        """For Matplotlib's ``plot``, without a line."""
        return {
            "marker": self.shape,
            "color": self.colour,
            "fillstyle": self.fill,
            "markerfacecolor": self.colour if self.fill != "none" else "white",
            "markerfacecoloralt": "white",
            "markeredgecolor": self.colour,
            "markeredgewidth": 1.0,
            "markersize": _SIZES.get(self.shape, 8.0),
            "linestyle": "none",
        }


def styles(rows: Sequence[tuple[str, str]], strategies: Sequence[str]) -> dict[str, Style]:
    """Give each label a style of its own.

    Labels of one strategy share shape and colour and differ in what is filled; where there are more of them than ways
    to fill, they go on with shapes and colours that no strategy has. Nothing comes round again: after all of these
    (108 for strategies, 648 in all) a mark is a number.

    Args:
        rows: strategy and label of each row; the same label twice is one mark.
        strategies: all strategies of the leaderboard, so that a mark means one thing in all figures.
    """
    names = [*_FIRST, *sorted({*strategies, *(strategy for strategy, _ in rows)} - {*_FIRST})]
    pairs = _pairs()
    of_strategy = {name: next(pairs) for name in names}
    labels: dict[str, list[str]] = {name: [] for name in names}
    for strategy, label in rows:
        if label not in labels[strategy]:
            labels[strategy].append(label)
    found: dict[str, Style] = {}
    for strategy in names:
        own = of_strategy[strategy]
        for number, label in enumerate(sorted(labels[strategy])):
            place = number % len(_FILLS)
            if number and (place == 0 or own[0].startswith("$")):
                own = next(pairs)
            found[label] = Style(*own, "full" if own[0].startswith("$") else _FILLS[place])
    return found


def _pairs() -> Iterator[tuple[str, str]]:
    """Shape and colour, each pair once; then numbers."""
    for number in range(len(_SHAPES) * len(_COLOURS)):
        # Both change from one to the next. Twelve shapes and nine colours meet again after 36: then the colours shift.
        colour = _COLOURS[(number + number // 36) % len(_COLOURS)]
        yield _SHAPES[number % len(_SHAPES)], colour
    for number in count(1):
        yield f"${number}$", _COLOURS[0]

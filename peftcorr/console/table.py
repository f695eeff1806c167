"""The table that every command prints: fitted to a terminal, as wide as its content when it is piped."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from peftcorr.errors import visible

_PLAIN = str.maketrans({"★": "*", "±": "+-", "…": "...", "≠": "!=", "→": "->"})
_ANY_WIDTH = 1_000_000


def print_table(
    console: Console,
    header: Sequence[str],
    rows: Iterable[Sequence[str] | None],
    *,
    text: Collection[int] = (0,),
    whole: Collection[int] = (),
    title: str = "",
    caption: str = "",
) -> None:
    """Print rows below a header; whatever a cell holds, no markup and no control character of it takes effect.

    A terminal gets lines between header, sections and rows, and its own width: text is wrapped, numbers are not.
    Elsewhere a row is one line, whole.

    Args:
        console: where to.
        header: of the columns; one over numbers is broken between its words where that saves width.
        rows: as many cells as the header, or fewer; None ends a section.
        text: which columns are text, aligned to the left; all others are numbers.
        whole: which of these are short names, never wrapped.
        title, caption: above and below the table, in as many lines as they need.
    """
    table = make_table(console, header, rows, text=text, whole=whole)
    print_line(console, title, style="bold")
    console.print(table, crop=False, no_wrap=not console.is_terminal)
    print_line(console, caption)


def make_table(
    console: Console,
    header: Sequence[str],
    rows: Iterable[Sequence[str] | None],
    *,
    text: Collection[int] = (0,),
    whole: Collection[int] = (),
) -> Table:
    """The table that `print_table` prints."""
    style, gap = (box.SIMPLE_HEAD, 1) if console.is_terminal else (None, 2)
    table = Table(box=style, padding=(0, gap, 0, 0), pad_edge=False, show_edge=False)
    cells = [None if row is None else [printable(cell, console) for cell in row] for row in rows]
    for number, name in enumerate(printable(name, console) for name in header):
        if number in text:
            table.add_column(Text(name), overflow="fold", no_wrap=number in whole)
            continue
        widths = [cell_len(row[number]) for row in cells if row is not None and number < len(row)]
        if console.is_terminal:
            widest = max([1, *widths, *map(cell_len, name.split())])
            name = textwrap.fill(name, widest, break_on_hyphens=False)
        table.add_column(Text(name), justify="right", no_wrap=True)
    for row in cells:
        if row is None:
            table.add_section()
        else:
            table.add_row(*map(Text, row))
    if not console.is_terminal:
        table.width = Measurement.get(console, console.options.update(max_width=_ANY_WIDTH), table).maximum
    return table


def print_line(console: Console, text: str, style: str = "") -> None:
    """Print a text, wrapped between words in a terminal and on one line elsewhere; nothing where there is none."""
    if text:
        console.print(Text(printable(text, console), style), soft_wrap=not console.is_terminal)


def print_whole(console: Console, text: str, style: str = "") -> None:
    """Print a text on one line, however long it is: what may be copied is not broken."""
    console.print(Text(printable(text, console), style), soft_wrap=True)


def printable(text: str, console: Console) -> str:
    """Return a text without control characters, in letters that the console's encoding has."""
    text = visible(text)
    if console.encoding.lower().startswith("utf"):
        return text
    return text.translate(_PLAIN).encode(console.encoding, "backslashreplace").decode(console.encoding)

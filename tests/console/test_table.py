"""One table for every command: fitted to a terminal, whole when piped, and never taking effect as markup."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from peftcorr.console.table import print_line, print_table, printable


class Latin(io.StringIO):
    """A stream whose encoding has no drawn lines."""

    encoding = "latin-1"


def console(**options: Any) -> Console:
    return Console(file=io.StringIO(), **options)


def terminal(width: int) -> Console:
    return console(force_terminal=True, width=width, color_system=None)


def printed(where: Console) -> str:
    assert isinstance(where.file, io.StringIO)
    return where.file.getvalue()


def test_piped_rows_are_whole_lines() -> None:
    where = console(width=40)
    print_table(
        where,
        ["name", "images scored"],
        [["a long name " * 20, "1,234"], None, ["b", "5"]],
        title="Many " * 20,
    )

    title, header, first, second = printed(where).splitlines()

    assert title.split() == ["Many"] * 20
    assert header.split() == ["name", "images", "scored"]
    assert first.split()[-1] == "1,234"
    assert first.count("a long name") == 20
    assert second.split() == ["b", "5"]


@pytest.mark.parametrize("width", [60, 80])
def test_a_terminal_is_not_overrun_and_numbers_stay_whole(width: int) -> None:
    where = terminal(width)
    rows = [["a long name " * 20, "1,234,567.89", "2"]]
    print_table(where, ["name", "GFLOP per image", "n"], rows, caption="and so on " * 20)

    lines = printed(where).splitlines()

    assert max(map(len, lines)) <= width
    assert sum("1,234,567.89" in line for line in lines) == 1
    assert not any("GFLOP per image" in line for line in lines)  # broken between words
    assert any("─" in line for line in lines)


def test_text_is_never_markup_nor_control() -> None:
    where = console(color_system="standard", force_terminal=True, width=80)
    print_table(
        where, ["[red]kind"], [["[bold]x[/nothing] \x1b[2J\x07"]], title="[blink]t", caption="[i]\x1b[3m"
    )

    text = printed(where)

    for shown in ("[red]kind", r"[bold]x[/nothing] \x1b[2J\x07", "[blink]t", r"[i]\x1b[3m"):
        assert shown in text
    assert "\x1b[2J" not in text
    assert "\x1b[3m" not in text


def test_a_narrow_encoding_gets_letters_that_it_has() -> None:
    where = Console(file=Latin(), force_terminal=True, width=80, color_system=None)
    print_table(where, ["run"], [["71.9 ± 0.3 …"], ["牛"]])

    text = printed(where)

    assert "71.9 +- 0.3 ..." in text
    assert r"\u725b" in text
    text.encode("ascii")
    assert printable("71.9 ± 0.3 …", console()) == "71.9 ± 0.3 …"


def test_a_line_is_one_when_piped_and_nothing_where_there_is_none() -> None:
    piped, narrow = console(width=20), terminal(20)
    for where in (piped, narrow):
        print_line(where, "some words " * 5)
        print_line(where, "")

    assert len(printed(piped).splitlines()) == 1
    assert max(map(len, printed(narrow).splitlines())) <= 20

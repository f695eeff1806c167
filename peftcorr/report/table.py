"""The rows of the leaderboard as tables for the terminal, at most 100 columns wide."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from peftcorr.console import numbers
from peftcorr.report.leaderboard import Board, Leaderboard, Row, Section, build_leaderboard
from peftcorr.results.store import Store

_PLAIN = str.maketrans({"★": "*", "±": "+-", "…": "..."})


def print_leaderboard(root: Path, console: Console, run_ids: Collection[str] | None = None) -> None:
    """Print the leaderboard of the records below `root`.

    Args:
        root: output folder of the runs.
        console: where to; no colour and no drawn lines when that is no terminal.
        run_ids: print only the tables that hold one of these runs, with their rows in bold; all when None.

    Raises:
        PeftCorrError: if a record is not valid.
    """
    for table in tables(build_leaderboard(Store(root).records()), console, run_ids):
        console.print(table)
        console.print()


def tables(leaderboard: Leaderboard, console: Console, run_ids: Collection[str] | None = None) -> list[Table]:
    """Return one table per dataset split and predictor, as `print_leaderboard` prints them."""
    return [
        _table(section, board, console, run_ids or ())
        for section in leaderboard.sections
        for board in section.boards
        if run_ids is None or any(_is_one_of(row, run_ids) for row in board.rows)
    ]


def _is_one_of(row: Row, run_ids: Collection[str]) -> bool:
    return any(run_id in run_ids for run_id in row.run_ids)


def _table(section: Section, board: Board, console: Console, bold: Collection[str]) -> Table:
    def plain(text: str) -> str:
        return text if console.encoding.lower().startswith("utf") else text.translate(_PLAIN)

    table = Table(
        title=plain(f"{section.title}, {board.predictor}"),
        caption=plain(
            "PCK in percent: per keypoint, below it per image. ★: no other row reaches its "
            f"PCK@{board.ranked_by} per keypoint with as few trainable parameters."
        ),
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD if console.is_terminal else None,
        pad_edge=False,
    )
    table.add_column("")
    table.add_column("strategy", overflow="fold", min_width=12)
    table.add_column("backbone\nimage", overflow="fold", min_width=10)
    transfer = any(
        row.trained_on not in (section.dataset.rpartition("/")[0], numbers.MISSING) for row in board.rows
    )
    if transfer:
        table.add_column("trained on", overflow="fold")
    table.add_column("trainable\nof total", justify="right", no_wrap=True)
    for alpha in board.alphas:
        table.add_column(f"PCK\n@{alpha}", justify="right")
    table.add_column("time\nmemory", justify="right", no_wrap=True, min_width=10)
    for row in board.rows:
        cells = [
            "★" if row.on_front else "",
            row.label + _uncertainty(row, board.ranked_by),
            f"{row.backbone}\n{row.image_size} px" if row.image_size else row.backbone,
            *([row.trained_on] if transfer else []),
            f"{numbers.count(row.trainable)}\n{numbers.share(row.trainable, row.total)}",
            *(
                f"{_mean(row.per_keypoint.get(alpha))}\n{_mean(row.per_image.get(alpha))}"
                for alpha in board.alphas
            ),
            f"{numbers.duration(row.train_seconds)}\n{numbers.memory(row.peak_memory)}",
        ]
        table.add_row(*map(plain, cells), style="bold" if _is_one_of(row, bold) else None)
    return table


def _mean(value: numbers.Spread | None) -> str:
    return numbers.MISSING if value is None else f"{value.mean:.2f}"


def _uncertainty(row: Row, alpha: str) -> str:
    """Return a second line, spread over seeds or 95 % interval: beside every number there is no room."""
    value = row.per_keypoint.get(alpha)
    if value is None:
        return ""
    if value.sd is not None:
        return f"\n{len(row.seeds)} seeds, ± {value.sd:.2f} @{alpha}"
    return "" if value.interval is None else f"\n95 %: {numbers.limits(value.interval)} @{alpha}"

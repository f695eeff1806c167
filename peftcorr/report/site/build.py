"""Writes the site: a pure function of the records, and of the predictions where they are there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from peftcorr.errors import PeftCorrError, visible
from peftcorr.files import passing_folder
from peftcorr.machine.version import VERSION
from peftcorr.report.configuration import method
from peftcorr.report.every_row import every_row
from peftcorr.report.leaderboard import Leaderboard, shown_board
from peftcorr.report.ranks import ranked
from peftcorr.report.site.board_data import board_data, board_title
from peftcorr.report.site.differences import MOST, NEXT, paired_differences
from peftcorr.report.site.generalisation import generalisation
from peftcorr.report.site.libraries import write_libraries
from peftcorr.report.site.pages import MARKER, Pages
from peftcorr.report.site.run_page import recipe_text, run_page
from peftcorr.report.transfer import transfer_matrices
from peftcorr.results.record import Record
from peftcorr.results.store import Store

_DETAILED = 20  # rows of a board whose runs are broken down from their predictions
_PICTURES = (".html", ".png")


@dataclass(frozen=True)
class Site:
    """What was written: the first page, how many runs there are, and the bytes of everything."""

    page: Path
    runs: int
    size: int


def build_site(root: Path, goal: Path, matches: Mapping[str, Path] | None = None) -> Site:
    """Write the site of an output folder; it replaces an earlier one whole or not at all.

    Args:
        root: output folder of the runs.
        goal: folder of the site; new, empty, or an earlier site.
        matches: folders that ``peftcorr show`` wrote, by run id; they are copied.

    Raises:
        PeftCorrError: if there are no records, one of them is not valid, a library is missing, `goal` holds something
            else, or something cannot be written.
    """
    if not (root / "records").is_dir():
        raise PeftCorrError(f"There is no folder {root / 'records'}: give the output folder of a run.")
    _require_own(goal)
    store = Store(root)
    records = store.records()
    with passing_folder(goal) as work:
        made = work / "site"
        _write(made, store, records, matches or {})
        if goal.exists():
            goal.replace(work / "before")
        made.replace(goal)
    size = sum(path.stat().st_size for path in goal.rglob("*") if path.is_file())
    return Site(goal / "index.html", len(records), size)


def _require_own(goal: Path) -> None:
    """Refuse a folder with anything in it but a site."""
    if not goal.exists() or (goal.is_dir() and not any(goal.iterdir())):
        return
    page = goal / "index.html"
    if not page.is_file() or not page.read_text(encoding="utf-8", errors="replace").startswith(MARKER):
        raise PeftCorrError(
            f"{goal} holds something that peftcorr report did not write: give -o a new folder."
        )


def _write(folder: Path, store: Store, records: Sequence[Record], matches: Mapping[str, Path]) -> None:
    leaderboard, _ = ranked(records, store.root)
    for name in ("assets", "data", "runs"):
        (folder / name).mkdir(parents=True)
    style = write_libraries(folder / "assets")
    for path in sorted((Path(__file__).parent / "assets").iterdir()):
        shutil.copyfile(path, folder / "assets" / path.name)
    (folder / "leaderboard.csv").write_text(every_row(leaderboard), encoding="utf-8", newline="\n")
    pages = Pages(version=VERSION, style=style, runs=len(leaderboard.runs), failed=leaderboard.failed)
    _write_boards(folder, pages, leaderboard)
    matrices = transfer_matrices(leaderboard)
    pages.write(
        folder / "transfer.html",
        "transfer.html",
        matrices=[(matrix, generalisation(matrix)) for matrix in matrices],
    )
    found = paired_differences(leaderboard, store)
    pages.write(folder / "differences.html", "differences.html", boards=found, most=MOST, next=NEXT)
    _write_runs(folder / "runs", pages, leaderboard, store, matches)


def _write_boards(folder: Path, pages: Pages, leaderboard: Leaderboard) -> None:
    by_id = {record.run_id: record for _, record in leaderboard.runs}
    listed: list[dict[str, str]] = []
    for section in leaderboard.sections:
        # The board that stands for its section is the one to begin with.
        for board in sorted(section.boards, key=lambda board: board is not shown_board(section)):
            file = f"data/board-{len(listed)}.js"
            data = json.dumps(board_data(section, board, by_id), separators=(",", ":"))
            # A text in a text: read by JSON.parse, which is faster than a script is and runs nothing.
            script = f"peftcorr.boards[{len(listed)}] = JSON.parse({json.dumps(data)});\n"
            (folder / file).write_text(script, encoding="utf-8", newline="\n")
            listed.append({"title": visible(board_title(section, board)), "file": file})
    methods = sorted({visible(method(record)) for record in by_id.values()})
    pages.write(folder / "index.html", "index.html", boards=listed, methods=methods)


def _write_runs(
    folder: Path, pages: Pages, leaderboard: Leaderboard, store: Store, matches: Mapping[str, Path]
) -> None:
    detailed = {
        run
        for section in leaderboard.sections
        for board in section.boards
        for row in board.rows[:_DETAILED]
        for run in row.run_ids
    }
    everything: list[tuple[str, Record]] = [
        *leaderboard.runs,
        *((method(record), record) for record in leaderboard.failed),
    ]
    for label, record in everything:
        drawn = _copy_matches(matches.get(record.run_id), folder / f"{record.run_id}-matches")
        page = run_page(record, label, store, record.run_id in detailed, drawn)
        pages.write(folder / f"{record.run_id}.html", "run.html", page=page)
        text = recipe_text(record)
        (folder / f"{record.run_id}.yaml").write_text(text, encoding="utf-8", newline="\n")


def _copy_matches(source: Path | None, goal: Path) -> str | None:
    """Copy the page and the pictures that ``peftcorr show`` wrote; returns the page's address."""
    if source is None:
        return None
    if not (source / "index.html").is_file():
        raise PeftCorrError(f"There is no {source / 'index.html'}: give a folder that peftcorr show wrote.")
    goal.mkdir()
    for path in sorted(source.iterdir()):
        if path.suffix in _PICTURES and path.is_file():
            shutil.copyfile(path, goal / path.name)
    return f"{goal.name}/index.html"

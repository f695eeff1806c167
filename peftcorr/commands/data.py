"""``peftcorr data prepare | check | split``: a dataset's folder, got, looked through or divided."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from peftcorr.commands import division
from peftcorr.commands.options import cache_folder, expanded
from peftcorr.console.numbers import count
from peftcorr.console.progress import Progress
from peftcorr.console.table import print_table
from peftcorr.errors import PeftCorrError
from peftcorr.machine.startup import importing

if TYPE_CHECKING:  # reading a flag's name must not wait for the libraries behind these
    from peftcorr.data.base import DatasetSource, PairDataset
    from peftcorr.data.published.catalogue import Figures
    from peftcorr.data.published.check import SplitCheck

SUMMARY = "Prepare a published dataset, check a dataset's folder, or divide one's own into splits."

_SHOWN = 10  # problems of a split that are printed
_FIGURES = ("pairs", "categories", "images", "keypoints")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument(
        "action",
        choices=("prepare", "check", "split"),
        help="download and unpack a published dataset, count what any dataset's loader gives and open every image, or "
        "divide a labelling tool's export into trn, val and test",
    )
    parser.add_argument(
        "name", metavar="NAME|FOLDER", help="a dataset, as peftcorr ls lists them; for split a folder"
    )
    parser.add_argument(
        "--data-root", type=Path, metavar="DIR",
        help="the dataset's folder (default: where prepare puts it, below the cache folder)",
    )  # fmt: skip
    parser.add_argument(
        "--archive", type=Path, nargs="+", default=[], metavar="FILE",
        help="files that it is published as and that are here already; the others are downloaded (prepare)",
    )  # fmt: skip
    parser.add_argument(
        "--sha256", nargs="+", default=[], metavar="HEX",
        help="what these files must hash to; else the first download is trusted (prepare)",
    )  # fmt: skip
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="key=value",
        help="options of the dataset, without its name; published figures are those of the defaults (check, split)",
    )  # fmt: skip
    parser.add_argument(
        "--picture", type=Path, metavar="FILE.png",
        help="write a contact sheet: images with their keypoints drawn, the likeliest mistakes first (check)",
    )  # fmt: skip
    division.add_options(parser)


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand.

    Returns:
        0, or 1 where a check found something wrong.

    Raises:
        PeftCorrError: if the dataset is unknown, or cannot be prepared or opened.
    """
    if parsed.action == "split":
        return division.split(parsed, expanded(Path(parsed.name)), cache_folder(), Progress(Console()))
    root = None if parsed.data_root is None else expanded(parsed.data_root)
    action = _prepare if parsed.action == "prepare" else _check
    return action(parsed, root, cache_folder(), Progress(Console()))


def _prepare(parsed: argparse.Namespace, root: Path | None, cache: Path, progress: Progress) -> int:
    from peftcorr.data.published.catalogue import prepared_folder, published
    from peftcorr.data.published.prepare import prepare

    dataset = published(parsed.name)
    folder = prepared_folder(cache, dataset.name) if root is None else root
    archives = [expanded(path) for path in parsed.archive]
    new = prepare(dataset, folder, archives, parsed.sha256, progress)
    progress.say(f"{dataset.name} is {'prepared' if new else 'there already: delete it to prepare it anew'}.")
    without = "; runs find it without, too" if root is None else ""
    progress.say(f"--data-root {dataset.name}={folder}{without}")
    return 0


def _check(parsed: argparse.Namespace, root: Path | None, cache: Path, progress: Progress) -> int:
    with importing():
        from peftcorr.data.published.catalogue import CATALOGUE
        from peftcorr.data.published.check import SplitCheck, check_split
        from peftcorr.engine.workbench import Workbench
        from peftcorr.recipe import resolve

    name = parsed.name
    options = [f"dataset.{text.removeprefix('dataset.')}" for text in parsed.set]
    section = resolve({"dataset": {"name": name}}, options, None).dataset
    bench = Workbench({} if root is None else {name: root}, None, Path(), cache, progress)
    source = bench.source(section)
    published = CATALOGUE[name].splits if name in CATALOGUE and not parsed.set else {}
    splits = source.splits()
    checks = [check_split(source, split, progress) for split in splits]
    absent = [split for split in published if split not in splits]
    checks += [SplitCheck(split, problems=[f"{source.name} has no such split."]) for split in absent]
    assert progress.console is not None
    print_table(
        progress.console,
        ["split", *_FIGURES, "missing", "unreadable"],
        [_row(check, published.get(check.split)) for check in checks],
        title=source.name,
    )
    if not splits:
        progress.say(f"{source.name} has no split. {source.looked_for()}".rstrip())
    for note in dict.fromkeys(note for check in checks for note in check.notes):
        progress.say(note)
    for check in checks:
        for problem in check.problems[:_SHOWN]:
            progress.say(f"{check.split}: {problem}")
        if len(check.problems) > _SHOWN:
            progress.say(f"{check.split}: and {len(check.problems) - _SHOWN:,} more.")
    if parsed.picture is not None:
        _draw(source, splits, expanded(parsed.picture), progress)
    sound = bool(checks) and not any(check.problems for check in checks)
    same = not any(check.differences(published.get(check.split)) for check in checks)
    progress.say(_verdict(sound, same, bool(published)))
    return 0 if sound and same else 1


def _looked_at(source: DatasetSource, split: str) -> PairDataset:
    """A split to be drawn; one that no run may read for where its keypoints lie shows them."""
    try:
        return source.load(split)
    except PeftCorrError:
        return source.unchecked(split)


def _draw(source: DatasetSource, splits: Sequence[str], path: Path, progress: Progress) -> None:
    """Write the contact sheet of all splits that can be read."""
    from peftcorr.data.contact_sheet import MOST, contact_sheet
    from peftcorr.data.suspects import suspects
    from peftcorr.files import atomic_path

    found, roots = [], {}
    for split in splits:
        try:
            dataset = _looked_at(source, split)
        except PeftCorrError:  # which the table above tells
            continue
        found += suspects(dataset)
        roots[split] = dataset.image_root
    found.sort(key=lambda one: -one.suspicion)
    sheet = contact_sheet(found, roots)
    with atomic_path(path) as temporary:
        sheet.save(temporary, "PNG")
    shown = (
        f"the {MOST} likeliest mistakes among {len(found):,}" if len(found) > MOST else f"all {len(found):,}"
    )
    progress.say(f"{path}: {shown} annotated images, the likeliest mistake first.")


def _verdict(sound: bool, same: bool, compared: bool) -> str:
    first = "Everything could be read" if sound else "Not everything could be read"
    if not compared:
        return f"{first}; there are no published figures to compare with."
    return f"{first}, {'and' if sound == same else 'but'} the figures are {'' if same else 'not '}those published."


def _row(check: SplitCheck, published: Figures | None) -> list[str]:
    cells = [_cell(getattr(check.found, name, None), getattr(published, name, None)) for name in _FIGURES]
    images = (None, None) if check.found is None else (check.missing, check.unreadable)
    return [check.split, *cells, *map(count, images)]


def _cell(found: int | None, published: int | None) -> str:
    """What was found, beside what is published."""
    if published is None:
        return count(found)
    return f"{count(found)} {'=' if found == published else '≠'} {count(published)} published"

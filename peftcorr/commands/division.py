"""``peftcorr data split``: dividing a folder that was exported whole, with lists beside it that readers follow."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from peftcorr.console.numbers import count
from peftcorr.console.progress import Progress
from peftcorr.console.table import print_table
from peftcorr.errors import PeftCorrError, shortened
from peftcorr.machine.startup import importing

if TYPE_CHECKING:  # reading a flag's name must not wait for the libraries behind these
    from peftcorr.data.division import Division
    from peftcorr.data.layouts.instance import Annotation

BY = ("image", "object", "category")

_SHOWN = 5  # groups of near-duplicates that are named


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of ``data split`` alone."""
    for split in ("val", "test"):
        parser.add_argument(
            f"--{split}", type=float, default=0.15, metavar="SHARE",
            help=f"share of the images that {split} gets, 0 to 1 (split; default: 0.15)",
        )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the draw (split; default: 0)"
    )
    parser.add_argument(
        "--by", choices=BY, default="image",
        help="what is never in two splits: an image, an object that several images show, or a category; "
        "near-duplicates never are (split; default: image)",
    )  # fmt: skip


def split(parsed: argparse.Namespace, folder: Path, cache: Path, progress: Progress) -> int:
    """Divide a folder and say what was done.

    Returns:
        0.

    Raises:
        PeftCorrError: if the folder is not recognised, an image cannot be decoded, or lists are there already.
    """
    with importing():
        from peftcorr.data.division import copies_across, divide
        from peftcorr.data.layouts.annotated_folder import AnnotatedFolder
        from peftcorr.data.layouts.split_lists import require_undivided, write_lists
        from peftcorr.engine.workbench import Workbench
        from peftcorr.recipe import resolve

    shares = {"val": parsed.val, "test": parsed.test}
    if not all(0 <= share < 1 for share in shares.values()) or sum(shares.values()) >= 1 or parsed.seed < 0:
        raise PeftCorrError(
            "--val and --test are shares, 0 to 1, that leave some for training; --seed is not negative."
        )
    dataset, given = _dataset(folder, parsed.set)
    section = resolve({"dataset": {"name": dataset}}, [f"dataset.{text}" for text in given], None).dataset
    source = Workbench({dataset: folder}, None, Path(), cache, progress).source(section)
    assert isinstance(source, AnnotatedFolder)
    if own := source.own_splits():
        progress.say(f"{folder} is divided already, into {', '.join(own)}: nothing was written.")
        for sentence in copies_across(source):
            progress.say(sentence)
    else:
        require_undivided(folder)
        annotation = source.read()
        found = divide(annotation.instances, source.image_root("test"), shares, parsed.seed, parsed.by)
        written = write_lists(folder, found.lists)
        _say_divided(source.name, annotation, found, progress)
        if parsed.by == "image" and len(things := {i.thing for i in annotation.instances if i.thing}) > 1:
            progress.say(
                f"The annotation names {len(things):,} objects or videos: --by object keeps the images of each in one "
                "split."
            )
        progress.say(f"Written: {written}, by {parsed.by}, seed {parsed.seed}. The data were not touched.")
    _say_next(dataset, folder, given, progress)
    return 0


def _say_divided(name: str, annotation: Annotation, found: Division, progress: Progress) -> None:
    rows = []
    for split, images in found.lists.items():
        listed = set(images)
        here = [instance for instance in annotation.instances if instance.image in listed]
        rows.append([split, *map(count, (len(images), len(here), len({i.category for i in here})))])
    assert progress.console is not None
    print_table(progress.console, ["split", "images", "objects", "categories"], rows, title=name)
    for note in annotation.notes:
        progress.say(note)
    _say_duplicates(found.duplicates, progress)
    for category in found.small:
        progress.say(f"{shortened(category)} has too few images for a pair in each split.")


def _dataset(folder: Path, assignments: Sequence[str]) -> tuple[str, list[str]]:
    """The dataset that reads a folder, and its options as they are given: those that say where, or what was found."""
    from peftcorr.data.layouts.exports import recognised

    keys = {text.partition("=")[0] for text in assignments}
    if keys & {"annotations", "table"}:
        return ("coco" if "annotations" in keys else "points"), list(assignments)
    export = recognised(folder)
    found = [_assignment(key, value) for key, value in export.options.items() if key not in keys]
    return export.dataset, [*found, *assignments]


def _assignment(key: str, text: str) -> str:
    """What ``--set`` takes for a text; in quotes where it would read something else."""
    from peftcorr.recipe import parse_set

    try:
        plain = parse_set([f"{key}={text}"])[key] == text
    except PeftCorrError:
        plain = False
    return f"{key}={text if plain else json.dumps(text)}"


def _say_duplicates(duplicates: Sequence[Sequence[str]], progress: Progress) -> None:
    if not duplicates:
        progress.say("No two images are near-duplicates.")
        return
    images = sum(map(len, duplicates))
    progress.say(
        f"{images:,} images are near-duplicates of {len(duplicates):,} pictures; each is in one split:"
    )
    for group in duplicates[:_SHOWN]:
        more = f" and {len(group) - 3:,} more" if len(group) > 3 else ""
        progress.say(f"  {', '.join(shortened(image) for image in group[:3])}{more}")
    if len(duplicates) > _SHOWN:
        progress.say(f"  and {len(duplicates) - _SHOWN:,} more.")


def _say_next(dataset: str, folder: Path, given: Sequence[str], progress: Progress) -> None:
    """The commands that go on from here, ready to be copied."""
    root = shlex.quote(str(folder))
    options = ["--set", *(shlex.quote(text) for text in given)] if given else []
    progress.say(" ".join(["peftcorr data check", dataset, "--data-root", root, *options]))
    options = ["--set", *(shlex.quote(f"dataset.{text}") for text in given)] if given else []
    progress.say(" ".join(["peftcorr run --dataset", dataset, "--data-root", root, *options]))

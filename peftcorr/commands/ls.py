"""``peftcorr ls``: what there is, and with a name all of that name; only what is asked for is imported."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from peftcorr.backbones import BACKBONES
from peftcorr.backbones.sizes import Size, known, measure
from peftcorr.console.table import print_line, print_table, print_whole
from peftcorr.data import DATASETS
from peftcorr.errors import PeftCorrError, nearest, shown
from peftcorr.machine.startup import importing
from peftcorr.matching import PREDICTORS
from peftcorr.registry import OURS, Entry, Registry
from peftcorr.strategies import STRATEGIES
from peftcorr.sweep.launchers import LAUNCHERS

SUMMARY = "List every strategy, backbone, dataset, predictor and launcher with its origin, or all that is known of one."

REGISTRIES: tuple[Registry[Any], ...] = (STRATEGIES, BACKBONES, DATASETS, PREDICTORS, LAUNCHERS)

_WIDE = 130  # columns of a terminal that has room for where weights come from


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME",
        help="strategy, backbone, dataset, predictor or launcher whose options, source and use are wanted; also "
        "timm/MODEL, or strategies joined by a plus",
    )  # fmt: skip
    parser.add_argument(
        "--json", action="store_true", help="print a JSON list of what is found, for machines"
    )


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand.

    Raises:
        PeftCorrError: if there is nothing of that name.
    """
    console = Console()
    if parsed.name is not None:
        found = [_described(kind, entry) for kind, entry in _find(parsed.name)]
        if parsed.json:
            print(json.dumps(found, indent=1))
            return 0
        for number, one in enumerate(found):
            print("\n" * bool(number), end="")
            _print_one(console, one)
        return 0
    listed = {registry.kind: registry.describe() for registry in REGISTRIES}
    if parsed.json:
        everything = [_listed(kind, entry) for kind, entries in listed.items() for entry in entries]
        print(json.dumps(everything, indent=1))
    else:
        _print_all(console, listed)
    return 0


def _listed(kind: str, entry: Entry[Any]) -> dict[str, Any]:
    size = _size(entry) if kind == "backbone" else None
    found = {key: value for key, value in vars(entry).items() if key != "target"}
    return {"kind": kind, **found, **({} if size is None else asdict(size))}


def _size(entry: Entry[Any]) -> Size | None:
    """From the table of what is ours; anything else is built, where it can be without options."""
    if entry.origin == OURS and entry.name in known():
        return known()[entry.name]
    if entry.error is not None or isinstance(entry.target, str):
        return None
    try:
        return measure(entry.target)
    except Exception:  # whatever a plugin raises, the others are still to be listed
        return None


def _print_all(console: Console, listed: Mapping[str, Sequence[Entry[Any]]]) -> None:
    for kind, entries in listed.items():
        rows = [(entry.name, _in_a_line(entry)) for entry in entries]
        print_table(console, (kind, "what it is"), rows, text=(0, 1), whole=(0,))
        console.print()
    header = ("backbone", "parameters", "stride", "image size", "licence", "weights")
    columns = len(header) - (console.is_terminal and console.width < _WIDE)
    sizes = [_size_row(entry)[:columns] for entry in listed["backbone"] if not entry.error]
    caption = "peftcorr ls NAME has the options of one, where it comes from and an example."
    print_table(console, header[:columns], sizes, text=(0, 4, 5), whole=(0,), caption=caption)


def _in_a_line(entry: Entry[Any]) -> str:
    what = f"BROKEN: {entry.error}" if entry.error else entry.summary.replace("`", "")
    return what if entry.origin == OURS else f"{what} [{entry.origin}]"


def _size_row(entry: Entry[Any]) -> Sequence[str]:
    size = _size(entry)
    if size is None:
        return (entry.name, *("by option",) * 3, "", "by option")
    numbers = (f"{size.parameters:,}", str(size.stride), str(size.image_size))
    return (entry.name, *numbers, size.licence, size.weights)


def _find(name: str) -> list[tuple[str, Entry[Any]]]:
    """Everything of that name, loaded.

    Raises:
        PeftCorrError: if there is nothing, or a family has the name but nothing behind it.
    """
    refused = None
    found = []
    with importing():
        for registry in REGISTRIES:
            try:
                entry = registry.find(name)
            except PeftCorrError as error:
                refused = refused or error
                continue
            if entry is not None:
                found.append((registry.kind, entry))
    if found:
        return found
    if refused is not None:
        raise refused
    near = nearest(name, {known for registry in REGISTRIES for known in registry.names()})
    raise PeftCorrError(
        f"There is nothing called {shown(name)}.{near or ' peftcorr ls, without a name, lists what there is.'}"
    )


def _described(kind: str, entry: Entry[Any]) -> dict[str, Any]:
    from peftcorr.commands.description import about, example, options_of, paper, schema_of

    if entry.error is not None or isinstance(entry.target, str):
        return _listed(kind, entry)
    options = options_of(entry.target.Config)
    return {
        **_listed(kind, entry),
        "about": about(entry.target),
        "options": [asdict(option) for option in options],
        "schema": schema_of(entry.target.Config),
        "paper": paper(entry.target),
        "module": entry.target.__module__,
        "example": example(kind, entry.name, entry.target, options),
    }


def _print_one(console: Console, one: dict[str, Any]) -> None:
    print_line(console, f"{one['kind']} {one['name']}, of {one['origin']}", style="bold")
    if one["error"] is not None:
        print_line(console, f"BROKEN: {one['error']}")
        return
    for text in (one["summary"].replace("`", ""), *one["about"].splitlines()):
        print_line(console, text)
    console.print()
    if one["options"]:
        header = ("option", "default", "allowed", "meaning")
        print_table(console, header, map(_option_row, one["options"]), text=range(4), whole=(0,))
    else:
        print_line(console, "It has no options.")
    console.print()
    if "parameters" in one:
        size = f"{one['parameters']:,} parameters, stride {one['stride']}, images of {one['image_size']} px"
        print_line(console, f"size: {size}")
        weights = ", ".join(filter(None, (one["weights"], one["licence"]))) or "by option"
        print_line(console, f"weights: {weights}")
    if one["paper"] is not None:
        print_line(console, f"paper: {one['paper']}")
    print_line(console, f"module: {one['module']}")
    print_whole(console, f"example: {one['example']}")


def _option_row(option: dict[str, Any]) -> Sequence[str]:
    default = option["default"]
    shown = default if isinstance(default, str) else json.dumps(default)
    return (option["name"], "required" if option["required"] else shown, option["allowed"], option["meaning"])

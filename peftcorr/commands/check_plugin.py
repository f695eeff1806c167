"""``peftcorr check-plugin``: whether a plugin's classes do what their kinds promise."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from peftcorr.backbones import BACKBONES
from peftcorr.commands.options import add_weights, cache_folder
from peftcorr.console.progress import Progress
from peftcorr.console.table import print_line, print_table
from peftcorr.data import DATASETS
from peftcorr.errors import BrokenContract, PeftCorrError, PluginFailed, reason
from peftcorr.machine.startup import importing
from peftcorr.matching import PREDICTORS
from peftcorr.registry import Registry, blaming_plugins, load_plugin_file
from peftcorr.strategies import STRATEGIES

SUMMARY = "Check that a strategy, backbone, dataset or predictor does what its kind promises."

REGISTRIES: tuple[Registry[Any], ...] = (STRATEGIES, BACKBONES, DATASETS, PREDICTORS)

_STRIDES = (8, 14)

Checks = Iterator[tuple[str, Callable[[], None]]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument(
        "what",
        metavar="FILE|NAME",
        help="Python file, whose classes are checked, or a name, as peftcorr ls lists them",
    )
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="key=value",
        help="options of the class, for example rank=4; otherwise it is checked with its defaults",
    )  # fmt: skip
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="folder of a dataset that reads one")
    add_weights(parser)


@dataclass
class Row:
    """What was found of a class on one thing: a family, a split, a stride.

    Attributes:
        subject: that thing.
        outcomes: ``ok`` or ``refused`` by check.
        reason: why it is refused, or why it cannot be checked.
        refused: whether something is wrong with the class.
    """

    subject: str
    outcomes: dict[str, str]
    reason: str | None = None
    refused: bool = False


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand.

    Returns:
        0, or 1 where a class does not do what its kind promises.

    Raises:
        PeftCorrError: if there is no such file or name, or it has nothing to check.
    """
    with importing():
        found = _classes(parsed.what)
    console, code = Console(), 0
    progress = Progress(Console(stderr=True))
    for kind, name, cls in found:
        rows = _KINDS[kind](cls, _options(parsed.set, kind, cls), parsed, progress)
        refused = any(row.refused for row in rows) or not any(row.outcomes for row in rows)
        _print(console, f"{kind} {name}", rows)
        print_line(console, f"{kind} {name}: {'refused' if refused else 'it does what its kind promises'}.")
        code = code or int(refused)
    return code


def _classes(what: str) -> list[tuple[str, str, type[Any]]]:
    """Kind, name and class of everything that a file defines, or that has a name."""
    if not what.endswith(".py"):
        found = [(r.kind, what, r.get(what)) for r in REGISTRIES if r.find(what) is not None]
        if not found:
            raise PeftCorrError(
                f"There is nothing called {what!r}: give a Python file, or a name of peftcorr ls."
            )
        return found
    module = load_plugin_file(Path(what), option="")
    bases = {registry.kind: registry.base_class() for registry in REGISTRIES}
    found = [
        (kind, cls.__name__, cls)
        for cls in vars(module).values()
        if isinstance(cls, type) and cls.__module__ == module.__name__ and not inspect.isabstract(cls)
        for kind, base in bases.items()
        if issubclass(cls, base)
    ]
    if not found:
        raise PeftCorrError(
            f"{what} defines no strategy, backbone, dataset or predictor: derive one from its base class."
        )
    return found


def _options(assignments: Sequence[str], kind: str, cls: type[Any]) -> Any:
    from pydantic import ValidationError

    from peftcorr.config import explain
    from peftcorr.recipe import parse_set

    try:
        return cls.Config(**parse_set(list(assignments)))
    except ValidationError as error:
        raise PeftCorrError(
            f"{kind} {cls.__name__}: {explain(error, cls.Config)} --set key=value gives options."
        ) from error


def _row(subject: str, checks: Callable[[], Checks]) -> Row:
    """Carry out checks until one refuses."""
    row, name = Row(subject, {}), ""
    try:
        with blaming_plugins():
            for name, check in checks():
                check()
                row.outcomes[name] = "ok"
    except PeftCorrError as error:
        row.reason = str(error)
        # A strategy may refuse a backbone that has no place for it.
        row.refused = isinstance(error, (BrokenContract, PluginFailed)) or name != "applies"
    except Exception as error:  # of a library, which the plugin asked for something that it does not have
        row.reason, row.refused = f"{type(error).__name__}: {reason(error)}", True
    if row.refused:
        row.outcomes[name or "opens"] = "refused"
    return row


def _strategy(cls: type[Any], config: Any, parsed: argparse.Namespace, progress: Progress) -> list[Row]:
    with importing():
        from peftcorr.backbones.small import families
        from peftcorr.strategies.check import checks

    made, rows = families(), []
    with progress.track(f"check {cls.__name__}", len(made), "families") as bar:
        for family, pretrained in made.items():
            rows.append(_row(family, partial(checks, lambda: cls(config), pretrained)))
            bar.advance(1)
    return rows


def _backbone(cls: type[Any], config: Any, parsed: argparse.Namespace, progress: Progress) -> list[Row]:
    with importing():
        from peftcorr.backbones.check import checks
        from peftcorr.backbones.loading import fetched

    def build() -> Any:
        return cls.build(config, fetched(cls, config, cls.find_weights(config, parsed.weights)))

    def shapes(**options: Any) -> Any:
        return cls.build(config.model_copy(update=options), None)

    return [_row("", lambda: checks(build, shapes))]


def _dataset(cls: type[Any], config: Any, parsed: argparse.Namespace, progress: Progress) -> list[Row]:
    with importing():
        from peftcorr.data.check import check_source, checks

    if cls.needs_root and parsed.data_root is None:
        raise PeftCorrError(f"The dataset {cls.__name__} is checked on a folder: give it with --data-root.")

    def make() -> Any:
        return cls(config, parsed.data_root, cache_folder(), progress.callback("prepare"))

    whole = _row("splits", lambda: iter([("splits", lambda: check_source(make()))]))
    if whole.refused:
        return [whole]
    return [_row(split, partial(checks, make, split)) for split in make().splits()]


def _predictor(cls: type[Any], config: Any, parsed: argparse.Namespace, progress: Progress) -> list[Row]:
    with importing():
        from peftcorr.matching.check import checks

    return [_row(f"stride {stride}", partial(checks, cls(config), stride)) for stride in _STRIDES]


_KINDS = {"strategy": _strategy, "backbone": _backbone, "dataset": _dataset, "predictor": _predictor}


def _print(console: Console, title: str, rows: Sequence[Row]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row.outcomes))
    cells = [(row.subject, *(row.outcomes.get(name, "") for name in names)) for row in rows]
    print_table(
        console, ("", *names), cells, text=range(len(names) + 1), whole=range(len(names) + 1), title=title
    )
    for row in rows:
        if row.reason is not None:
            on = f"{row.subject}: " if row.subject else ""
            print_line(console, f"{on}{row.reason if row.refused else f'not checked. {row.reason}'}")

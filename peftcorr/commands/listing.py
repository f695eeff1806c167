"""What there is and what it would take: the tables of ``ls``, ``params`` and ``--dry-run``, from shapes alone."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import torch
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from peftcorr.backbones import BACKBONES
from peftcorr.data import DATASETS
from peftcorr.engine.cost import estimate, machine_speed, parameter_counts, trained_images
from peftcorr.engine.plan import Plan
from peftcorr.errors import PeftCorrError
from peftcorr.machine.processors import processors
from peftcorr.machine.startup import importing
from peftcorr.matching.predictors import PREDICTORS
from peftcorr.strategies import STRATEGIES

Counts = list[tuple[str, tuple[int, int] | PeftCorrError]]  # of each strategy: trainable, total; or why none


def print_names(console: Console) -> None:
    """Everything registered with its origin, and what each backbone is."""
    table = Table("kind", "name", "origin", "what it is")
    registries: tuple[Any, ...] = (STRATEGIES, BACKBONES, DATASETS, PREDICTORS)
    for registry in registries:
        for entry in registry.describe():
            table.add_row(
                registry.kind,
                entry.name,
                entry.origin,
                f"BROKEN: {entry.error}" if entry.error else entry.summary,
            )
    console.print(table)
    console.print(_backbones())


def _backbones() -> Table:
    table = Table("backbone", "parameters", "stride", "image size", "licence", "weights")
    for column in table.columns:
        column.overflow = "fold"
    for column in table.columns[:4]:
        column.no_wrap = True
    for column in table.columns[1:4]:
        column.justify = "right"
    for name in BACKBONES.names():
        try:
            cls = BACKBONES.get(name)
            backbone = cls.build(cls.Config(), None)
        except ValidationError:
            table.add_row(name, "by option", "by option", "by option", "", "by option")
            continue
        except PeftCorrError as error:  # an extra that is not installed, say
            table.add_row(name, "", "", "", "", str(error))
            continue
        embedded = cls.embedded_weights()
        table.add_row(
            name,
            f"{backbone.total_parameters():,}",
            str(backbone.stride),
            str(backbone.config.image_size),
            cls.licence,
            "in the package" if embedded is not None else cls.hub_id or "",
        )
    return table


def print_parameters(backbones: Sequence[str], strategies: Sequence[str], console: Console) -> None:
    """Trainable and total parameters of every combination at its default options, or why there is none.

    Raises:
        PeftCorrError: if a name is unknown.
    """
    table = Table("backbone", "strategy", "trainable", "total", "%")
    for column in table.columns[2:]:
        column.justify = "right"
    impossible = []
    with importing():
        names = backbones or [name for name in BACKBONES.names() if _has_defaults(BACKBONES, name)]
        for name in names:
            BACKBONES.get(name)
        wanted = strategies or [name for name in STRATEGIES.names() if _has_defaults(STRATEGIES, name)]
    for name, counted in _counted(names, wanted):
        for strategy, counts in counted:
            if isinstance(counts, PeftCorrError):
                impossible.append(f"{strategy} on {name}: {counts}")
                table.add_row(name, strategy, "impossible", "", "")
                continue
            trainable, total = counts
            table.add_row(name, strategy, f"{trainable:,}", f"{total:,}", f"{100 * trainable / total:.3f}")
    console.print(table)
    for reason in impossible:
        console.print(reason, highlight=False, markup=False, soft_wrap=True)


def _counted(backbones: Sequence[str], strategies: Sequence[str]) -> Iterator[tuple[str, Counts]]:
    """Each backbone with its counts; on Linux a core counts one, in a process forked with all that is imported."""
    count = partial(_count, list(strategies))
    if sys.platform != "linux" or min(processors(), len(backbones)) < 2:
        yield from zip(backbones, map(count, backbones), strict=True)
        return
    with ProcessPoolExecutor(
        processors(),
        multiprocessing.get_context("fork"),
        initializer=torch.set_num_threads,
        initargs=(1,),  # torch's own threads do not outlive a fork
    ) as pool:
        yield from zip(backbones, pool.map(count, backbones), strict=True)


def _count(strategies: Sequence[str], backbone: str) -> Counts:
    return list(parameter_counts(BACKBONES.get(backbone), strategies))


def _has_defaults(registry: Any, name: str) -> bool:
    """Whether a class can be made without options; one that a missing extra forbids is left out too."""
    try:
        registry.get(name).Config()
    except (ValidationError, PeftCorrError):
        return False
    return True


def print_plan(plans: Sequence[Plan], terminal: Console | None) -> None:
    """The cells of a sweep with their parameters and cost, and which of them are impossible."""
    table = Table(
        "run",
        "cell",
        "trainable",
        "total",
        "train images",
        "train TFLOP",
        "GFLOP per image scored",
        "train minutes here",
    )
    for column in table.columns[2:]:
        column.justify = "right"
    speed = machine_speed()
    impossible = []
    for plan in plans:
        try:
            cost = estimate(plan.model)
        except PeftCorrError as error:
            impossible.append(f"{plan.title}: {error}")
            table.add_row(plan.run_id, plan.title, "impossible")
            continue
        images = trained_images(plan.recipe.training)
        work = cost.train_flops * images
        table.add_row(
            plan.run_id,
            plan.title,
            f"{cost.trainable:,}",
            f"{cost.total:,}",
            f"{images:,}",
            f"{work / 1e12:,.1f}",
            f"{cost.forward_flops / 1e9:,.1f}",
            f"{work / speed / 60:,.1f}",
        )
    if terminal is None:
        return
    terminal.print(table)
    for reason in impossible:
        terminal.print(reason, highlight=False, markup=False, soft_wrap=True)
    terminal.print(
        f"Minutes at the {speed / 1e9:,.0f} GFLOP/s that a matrix product reached just now.",
        highlight=False,
    )

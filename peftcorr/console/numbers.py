"""How the reports write numbers; without the locale, so that a report is the same on every machine."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from peftcorr.errors import shown

MISSING = "-"


@dataclass(frozen=True)
class Spread:
    """Mean over seeds and, from two seeds on, the sample standard deviation."""

    mean: float
    sd: float | None = None
    interval: tuple[float, float] | None = None  # 95 %; of several seeds, over seeds and images

    @classmethod
    def over(cls, seeds: Sequence[float], interval: tuple[float, float] | None = None) -> Spread:
        """Of one value a seed."""
        sd = statistics.stdev(seeds) if len(seeds) > 1 else None
        return cls(statistics.fmean(seeds), sd, interval)


def percentage(value: Spread | None) -> str:
    """Return ``71.88``, or ``71.88 ± 0.31`` over several seeds."""
    if value is None:
        return MISSING
    return f"{value.mean:.2f}" if value.sd is None else f"{value.mean:.2f} ± {value.sd:.2f}"


def with_interval(value: Spread | None) -> str:
    """Return ``71.88 [70.1, 73.5]`` where the interval is known, else as `percentage`."""
    if value is None or value.interval is None:
        return percentage(value)
    return f"{percentage(value)} {limits(value.interval)}"


def signed(points: float) -> str:
    """Return a difference with its sign, ``+1.23`` or ``-1.23``; what rounds to nothing is ``+0.00``."""
    return f"{round(points, 2) + 0.0:+.2f}"


def limits(interval: Sequence[float]) -> str:
    """Return ``[70.1, 73.5]``: a second decimal would say nothing; what rounds to nothing has no sign."""
    low, high = (round(end, 1) + 0.0 for end in interval)
    return f"[{low:.1f}, {high:.1f}]"


def count(value: int | None) -> str:
    """Return a count with thousands separators."""
    return MISSING if value is None else f"{value:,}"


def rounded(value: int) -> str:
    """Return ``10 k`` or ``1 M`` of a round count."""
    return f"{value // 1_000_000} M" if value >= 1_000_000 else f"{value // 1_000} k"


def share(part: int | None, whole: int | None) -> str:
    """Return what percentage `part` is of `whole`."""
    if part is None or not whole:
        return MISSING
    percent = 100 * part / whole
    return "<0.01 %" if 0 < percent < 0.005 else f"{percent:.2f} %"


def duration(seconds: float | None) -> str:
    """Return ``42 s``, ``3 min 05 s`` or ``1 h 04 min``; nothing for a run that was not trained."""
    if not seconds:
        return MISSING
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if whole else "<1 s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def memory(amount: int | None) -> str:
    """Return bytes as ``640 B``, ``150.5 kB``, ``12.0 MB`` or ``1.23 GB`` (powers of ten)."""
    if not amount:
        return MISSING
    if amount >= 1e9:
        return f"{amount / 1e9:.2f} GB"
    if amount >= 1e6:
        return f"{amount / 1e6:.1f} MB"
    return f"{amount / 1e3:.1f} kB" if amount >= 1e3 else f"{amount} B"


def parse_bytes(text: str) -> int:
    """A size such as ``512MiB``, ``2GB`` or ``1000000`` in bytes.

    Raises:
        argparse.ArgumentTypeError: if it is no size, which argparse turns into a sentence.
    """
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        return TypeAdapter(ByteSize).validate_python(text)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no size: write it like 512MiB or 2GB") from error

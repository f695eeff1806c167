"""Progress of anything longer than two seconds: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from peftcorr.console.table import print_whole, printable

Watcher = Callable[[str, int, int, str], None]
"""Is told what is done, how much of it, of how much, and a note."""

_SHOW_AFTER = 2.0  # seconds
_LINE_EVERY = 15.0  # seconds between plain lines


class Bar:
    """One task under way."""

    def __init__(
        self,
        console: Console | None,
        description: str,
        total: int,
        unit: str,
        done: int = 0,
        watcher: Watcher | None = None,
    ):
        self._console, self._watcher, self._name = console, watcher, description
        self._description = description if console is None else printable(description, console)
        self._total, self._unit = total, unit
        self._begun = self._line = time.monotonic()
        self._first = self._done = done
        self._rich: RichProgress | None = None

    def advance(self, count: int, note: str = "") -> None:
        """Add `count` done; `note` stands behind the bar (the loss, say)."""
        self.update(self._done + count, note)

    def update(self, done: int, note: str = "") -> None:
        """Set how much is done."""
        self._done = done
        if self._watcher is not None:
            self._watcher(self._name, done, self._total, note)
        now = time.monotonic()
        if self._console is None or self._console.quiet or now - self._begun < _SHOW_AFTER:
            return
        rate = (done - self._first) / max(now - self._begun, 1e-9)
        text = printable(f"{rate:,.1f} {self._unit}/s{', ' + note if note else ''}", self._console)
        if self._console.is_terminal:
            if self._rich is None:
                columns = (
                    TextColumn("{task.description}", markup=False),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TimeRemainingColumn(),
                    TextColumn("{task.fields[text]}", markup=False),
                )
                self._rich = RichProgress(*columns, console=self._console, transient=True)
                self._rich.start()
                self._rich.add_task(self._description, total=self._total, text=text)
            self._rich.update(self._rich.task_ids[0], completed=done, text=text)
        elif now - self._line >= _LINE_EVERY or done >= self._total:
            self._line = now
            left = (self._total - done) / rate if rate else 0.0
            said = f"{self._description}: {done:,}/{self._total:,}, {text}, {left:.0f} s left"
            _say(self._console, said)

    def report(self, done: int, total: int) -> None:
        """As `update`, where the total is not known before."""
        self._total = total
        self.update(done)

    def close(self) -> None:
        """Take the bar away."""
        if self._rich is not None:
            self._rich.stop()


class Progress:
    """Where progress is shown: a console on the main process, nowhere on the others (None)."""

    def __init__(self, console: Console | None):
        self.console = console
        self._watcher: Watcher | None = None

    @contextmanager
    def watched(self, watcher: Watcher) -> Iterator[None]:
        """Tell somebody else of all progress in the block too."""
        self._watcher = watcher
        try:
            yield
        finally:
            self._watcher = None

    @contextmanager
    def track(self, description: str, total: int, unit: str, done: int = 0) -> Iterator[Bar]:
        """Show one task while the block runs."""
        bar = Bar(self.console, description, total, unit, done, self._watcher)
        try:
            yield bar
        finally:
            bar.close()

    def callback(self, description: str, unit: str = "items") -> Callable[[int, int], None]:
        """A function of (done, total) that shows one task, for code that knows nothing of consoles."""
        bars: list[Bar] = []

        def report(done: int, total: int) -> None:
            if not bars:
                bars.append(Bar(self.console, description, total, unit, watcher=self._watcher))
            bars[0].report(done, total)
            if done >= total:
                bars.pop().close()

        return report

    @contextmanager
    def reporting(self, description: str, unit: str) -> Iterator[Callable[[int, int], None]]:
        """As `callback`; the bar goes away however the block ends."""
        with self.track(description, 0, unit) as bar:
            yield bar.report

    def say(self, text: str) -> None:
        """Print one line."""
        if self.console is not None:
            _say(self.console, text)


def _say(console: Console, text: str) -> None:
    """Print a line; where nobody reads any more, the work goes on without a word."""
    with suppress(SystemExit):  # rich's answer to a closed pipe, after which the console is quiet
        print_whole(console, text)

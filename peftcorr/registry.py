"""One registry for everything that has a name: strategies, backbones, datasets and predictors.

An entry is either an object or a lazy ``"module:attribute"`` string, so that listing what exists
imports nothing. Plugins add entries by an entry point, by the decorator, or by ``--plugin FILE.py``;
one that fails to load stays in the list with its error and stops nobody else.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Generic, TypeVar

from peftcorr.errors import PeftCorrError, PluginFailed, did_you_mean, is_memory, reason, shortened, shown

T = TypeVar("T")
C = TypeVar("C", bound=type)

OURS = "peftcorr"
"""Origin of what this package registers itself."""

_plugins: set[str] = set()  # modules, or packages, that registered something or were loaded as a plugin


@dataclass
class Entry(Generic[T]):
    """A registered name: where it came from, what it is, and why it is broken if it is."""

    name: str
    origin: str
    target: T | str
    summary: str = ""
    error: str | None = None


@dataclass
class Registry(Generic[T]):
    """Names of one kind of thing, for example every strategy.

    Args:
        kind: singular noun used in messages (``strategy``).
        group: entry-point group that plugins use (``peftcorr.strategies``).
        base: ``"module:attribute"`` of the class that every entry must derive from; checked when it is loaded.
    """

    kind: str
    group: str
    base: str
    _entries: dict[str, Entry[type[T]]] = field(default_factory=dict)
    _families: dict[str, str] = field(default_factory=dict)
    _scanned: bool = False

    def register(self, name: str) -> Callable[[C], C]:
        """Class decorator: add the class under `name`; a second one of that name is an error."""

        def add(cls: C) -> C:
            self._add(
                Entry(name, cls.__module__.partition(".")[0], self._checked(cls, name), _first_line(cls))
            )
            return cls

        return add

    def lazy(self, name: str, target: str, summary: str = "") -> None:
        """Add ``"module:attribute"`` under `name` without importing it; `summary` is its docstring's first line."""
        self._add(Entry(name, OURS, target, summary))

    def family(self, sign: str, target: str) -> None:
        """Let ``"module:function"`` make the class of any unregistered name that contains `sign`.

        The function takes the name, and raises PeftCorrError for one it cannot make anything of.
        """
        self._families[sign] = target

    def _add(self, entry: Entry[type[T]]) -> None:
        if entry.origin != OURS:
            target = entry.target
            _plugins.add(
                target.partition(":")[0].partition(".")[0] if isinstance(target, str) else target.__module__
            )
        known = self._entries.get(entry.name)
        if known is not None and known.error is None:
            raise PeftCorrError(
                f"The {self.kind} {shown(entry.name)} of {entry.origin} has the name of one that {known.origin} "
                "registered already: rename it."
            )
        self._entries[entry.name] = entry

    def names(self) -> list[str]:
        """All names that can be asked for, sorted."""
        return [entry.name for entry in self.entries() if entry.error is None]

    def entries(self) -> Iterator[Entry[type[T]]]:
        """Every entry, broken plugins included, sorted by name."""
        self._scan()
        yield from sorted(self._entries.values(), key=lambda entry: entry.name)

    def get(self, name: str) -> type[T]:
        """Return the class registered under `name`.

        Raises:
            PeftCorrError: if there is none (with the nearest name), or if it cannot be loaded.
        """
        entry = self.find(name)
        if entry is None:
            raise PeftCorrError(f"Unknown {self.kind} {shown(name)}.{did_you_mean(name, self.names())}")
        if entry.error is not None:
            raise PeftCorrError(
                f"The {self.kind} {shown(name)} of {entry.origin} cannot be loaded: {entry.error}"
            )
        assert not isinstance(entry.target, str)
        return entry.target

    def find(self, name: str) -> Entry[type[T]] | None:
        """Return the loaded entry of a name, with its error if it cannot be loaded, or None if there is none.

        Raises:
            PeftCorrError: if the name has a family's sign, but the family has nothing of that name.
        """
        self._scan()
        entry = self._entries.get(name) or self._of_family(name)
        if entry is None:
            return None
        if entry.error is None and isinstance(entry.target, str):
            try:
                entry.target = self._checked(resolve_name(entry.target), name)
                entry.summary = entry.summary or _first_line(entry.target)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a plugin may fail in any way and must take nothing with it
                entry.error = _in_a_line(error)
        return entry

    def _of_family(self, name: str) -> Entry[type[T]] | None:
        for sign, target in self._families.items():
            if sign in name:
                cls = resolve_name(target)(name)
                return Entry(name, OURS, cls, _first_line(cls))
        return None

    def describe(self) -> list[Entry[type[T]]]:
        """Every entry with its summary; plugins, which come without, are loaded, and what is broken says so."""
        for entry in list(self.entries()):
            if entry.error is None and not entry.summary:
                self.find(entry.name)
        return list(self.entries())

    def _scan(self) -> None:
        if self._scanned:
            return
        self._scanned = True
        for point in entry_points(group=self.group):
            origin = point.dist.name if point.dist is not None else point.module
            try:
                self._add(Entry(point.name, origin, point.value))
            except PeftCorrError as error:
                label = f"{point.name} ({origin})"
                self._entries[label] = Entry(label, origin, point.value, error=str(error))

    def base_class(self) -> type[T]:
        """The class that every entry derives from."""
        found: type[T] = resolve_name(self.base)
        return found

    def _checked(self, found: object, name: str) -> type[T]:
        base = self.base_class()
        if not (isinstance(found, type) and issubclass(found, base)):
            raise TypeError(f"{name}: {shown(found)} is no subclass of {base.__module__}.{base.__qualname__}")
        return found


def _first_line(cls: type) -> str:
    return (cls.__doc__ or "").strip().partition("\n")[0]


def _in_a_line(error: BaseException) -> str:
    if isinstance(error, PeftCorrError):
        return str(error)
    kind = "it calls sys.exit" if isinstance(error, SystemExit) else type(error).__name__
    text = f"{kind}: {reason(error)}" if str(error) else kind
    line = plugin_line(error)
    return text if line is None else f"{text} ({line})"


def plugin_line(error: BaseException) -> str | None:
    """``FILE, line N``: where in a plugin an error came from; None if our code or a library's is to blame.

    That is the innermost line of a plugin, unless the plugin had called our code again by then.
    """
    found = None
    for frame, number in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__"))
        top = module.partition(".")[0]
        if top == OURS:
            found = None
        elif _plugins & {top, module}:
            found = f"{frame.f_code.co_filename}, line {number}"
    return found


@contextmanager
def blaming_plugins() -> Iterator[None]:
    """Put what a plugin's own code raises in the block into words, and say where; also that it calls ``sys.exit``.

    PEFTCORR_DEBUG=1 prints the traceback. Memory that is not there is nobody's fault.

    Raises:
        PluginFailed: for such an error; every other one passes.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        line = None if is_memory(error) or isinstance(error, PeftCorrError) else plugin_line(error)
        if line is None:
            raise
        if os.environ.get("PEFTCORR_DEBUG"):
            traceback.print_exc()
        raise PluginFailed(
            f"A plugin failed: {_in_a_line(error)}. PEFTCORR_DEBUG=1 shows how it came there."
        ) from error


def load_plugin_file(path: Path, option: str = "--plugin ") -> ModuleType:
    """Import `path`, whose decorators then register what it defines.

    Args:
        path: of a Python file.
        option: what it was given by, for the errors.

    Raises:
        PeftCorrError: if the file is missing or fails to import.
    """
    if not os.path.isfile(path):
        raise PeftCorrError(f"{option}{shortened(str(path), 200)}: there is no such file.")
    name = f"peftcorr_plugin_{path.stem}"  # a file json.py must not become everybody's json
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PeftCorrError(f"{option}{path}: this is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _plugins.add(name)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # whatever the plugin's own code raises is reported as the plugin's
        del sys.modules[name]
        if isinstance(error, (PeftCorrError, KeyboardInterrupt)):
            raise
        raise PeftCorrError(f"{option}{path} cannot be imported: {_in_a_line(error)}") from error
    return module

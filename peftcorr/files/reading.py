"""Reading what others wrote: never waiting for a pipe, and never deeper or longer than a document of ours can be."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from peftcorr.errors import PeftCorrError, reason

_DEEPEST = 64  # sections within sections
_LARGEST = 100_000  # values of a YAML document, those that an alias repeats counted each time
_DIGITS = 100  # of a whole number in YAML

MARK = "\ufeff".encode()  # which some editors put before text (the byte-order mark); it is no part of it


class NoYaml(ValueError):
    """A text that is no YAML at all."""


# What PyYAML's constructors raise for a tag that does not fit its value, besides their own error.
_UNFIT = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)


def _without_waiting(name: str, flags: int) -> int:
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


@contextmanager
def opened(path: str | Path, buffering: int = -1) -> Iterator[IO[bytes]]:
    """Open a plain file for reading; a pipe or a device, for which one could wait for ever, is none.

    Args:
        path: of the file.
        buffering: as of `open`.

    Raises:
        OSError: if there is no such file or it is none.
    """
    with open(path, "rb", buffering, opener=_without_waiting) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no plain file", str(path))
        yield stream


def read_bytes(path: Path) -> bytes:
    """What a file holds.

    Raises:
        PeftCorrError: if it cannot be read.
    """
    try:
        with opened(path) as stream:
            return stream.read()
    except OSError as error:
        raise PeftCorrError(f"Cannot read {path}: {error.strerror or reason(error)}.") from error


def read_text(path: Path) -> str:
    """The text of a file, without the mark that some editors put before it.

    Raises:
        PeftCorrError: if it cannot be read or is not UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PeftCorrError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8.") from error


def parse_json(content: str | bytes) -> Any:
    """The document of a JSON text, whatever mark an editor put before it.

    Raises:
        ValueError: if it is none, or is nested too deeply to be one of ours.
    """
    try:
        document = json.loads(content.removeprefix("\ufeff") if isinstance(content, str) else content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level, deep = [document], 0
    while level := [child for node in level for child in _children(node)]:
        deep += 1
        if deep > _DEEPEST:
            raise ValueError("it is nested too deeply")
    return document


def _children(node: object) -> list[Any]:
    """The lists and mappings in one."""
    inside = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [child for child in inside if isinstance(child, (dict, list))]


def parse_yaml(text: str, loader: type[yaml.BaseLoader] | type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """The document of a YAML text, of plain values alone.

    An alias stands for what it names, so a few lines can stand for more than fits into memory: they are counted before
    anything is made of them.

    Raises:
        ValueError: if it is none (`NoYaml`), or is too deep or too large to be one of ours.
    """
    try:
        reader = loader(text)
        node = reader.get_single_node()
    except yaml.YAMLError as error:
        raise NoYaml(reason(error)) from error
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if node is None:
        return None
    _extent(node, {})
    try:
        return reader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(reason(error)) from error
    except _UNFIT as error:
        raise ValueError(f"a value is not what its tag says: {reason(error)}") from error


def _extent(node: yaml.Node, known: dict[int, tuple[int, int]], depth: int = 0) -> tuple[int, int]:
    """How many values a node stands for, and how deep they lie."""
    if depth > _DEEPEST:  # an alias of what it stands in never ends
        raise ValueError("it is nested too deeply")
    if id(node) in known:
        return known[id(node)]
    inside = node.value if isinstance(node, yaml.CollectionNode) else ()
    if not inside and node.tag.endswith(":int") and len(node.value) > _DIGITS:
        raise ValueError(f"a number has more than {_DIGITS} digits")
    size, height = 1, 0
    for part in (part for item in inside for part in (item if isinstance(item, tuple) else (item,))):
        more, below = _extent(part, known, depth + 1)
        size, height = size + more, max(height, below + 1)
    if size > _LARGEST:
        raise ValueError(f"it stands for more than {_LARGEST:,} values")
    if height > _DEEPEST:
        raise ValueError("it is nested too deeply")
    known[id(node)] = size, height
    return size, height

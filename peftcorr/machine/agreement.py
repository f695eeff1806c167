"""Several processes, perhaps on machines without a common disk: the main one decides, and what only it has is sent."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

T = TypeVar("T")


def agreed(ask: Callable[[], T]) -> T:
    """The main process's answer, in every process: what each would find by itself may change in between."""
    state = PartialState()
    answer = [ask() if state.is_main_process else None]
    if state.num_processes > 1:
        broadcast_object_list(answer)
    return cast(T, answer[0])


def everyones(value: T) -> list[T]:
    """The value of each process, in every process."""
    return [value] if PartialState().num_processes == 1 else cast(list[T], gather_object([value]))


def neighbours() -> list[int]:
    """The processes of this node, this one among them, by their number among all."""
    state = PartialState()
    if state.num_processes == 1:
        return [0]
    nodes = everyones((socket.gethostname(), os.environ.get("GROUP_RANK", "")))
    return [process for process, node in enumerate(nodes) if node == nodes[state.process_index]]


@contextmanager
def everywhere(folder: Path | None, beside: Path) -> Iterator[Path | None]:
    """The main process's folder of files, in every process: itself where that can be seen, else a copy.

    Args:
        folder: in the main process, or None; not looked at in the others.
        beside: folder that has it, in each process.

    Yields:
        where its files can be read, or None if the main process has none.
    """
    content = agreed(lambda: None if folder is None else (folder.name, _sizes(folder)))
    if content is None:
        yield None
        return
    name, sizes = content
    seen = (beside / name).is_dir() and _sizes(beside / name) == sizes
    if all(everyones(seen)):
        yield beside / name
        return
    files = agreed(lambda: {path: (beside / name / path).read_bytes() for path in sizes})
    if PartialState().is_main_process:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="peftcorr-state-") as copy:
        for path, written in files.items():
            target = Path(copy) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(written)
        yield Path(copy)


def _sizes(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of each file: two folders with the same are one, seen through a common disk."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }

"""What is known of each image file of a folder, computed once for as long as the file stays the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from peftcorr.data.pair_dataset import PairDataset
from peftcorr.files import digest, read_json, write_json
from peftcorr.machine.processors import processors


def image_names(dataset: PairDataset) -> list[str]:
    """Path of each image of a split below its image folder, sorted."""
    table = dataset.table.with_format("arrow")[:]
    columns = [table.column(name).unique().to_pylist() for name in ("source_image", "target_image")]
    return sorted({name for column in columns for name in column})


def per_file(
    root: Path, names: Sequence[str], cache: Path, what: str, compute: Callable[[Path], Any]
) -> dict[str, Any]:
    """A value of JSON for each file by its path below `root`.

    Args:
        root: folder of the images.
        names: paths below it.
        cache: folder that all caches live in; a file's value is remembered there with its size and time of change.
        what: name of the values.
        compute: gives the value of one file.

    Raises:
        OSError: if a file is not there, or as `compute`.
    """
    known_at = cache / what / f"{digest(str(root.resolve()))[:16]}.json"
    known = _remembered(known_at)
    folder = str(root)
    stamps = {name: _stamp(os.path.join(folder, name)) for name in names}
    new = [name for name in names if known.get(name, [None])[:-1] != stamps[name]]
    if new:
        with ThreadPoolExecutor(processors()) as pool:
            values = dict(zip(new, pool.map(lambda name: compute(root / name), new), strict=True))
        known |= {name: [*stamps[name], values[name]] for name in new}
        write_json(known_at, {"images": known})
    return {name: known[name][-1] for name in names}


def _stamp(path: str) -> list[int]:
    status = os.stat(path)  # a Path for each of thousands of files takes longer than the system does
    return [status.st_size, status.st_mtime_ns]


def _remembered(path: Path) -> dict[str, list[Any]]:
    try:
        found: dict[str, list[Any]] = read_json(path)["images"]
    except (OSError, ValueError, KeyError):
        return {}  # not there, or damaged: everything is computed again
    return found

"""Columns of a predictions table as arrays, one dataset, split and predictor at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from peftcorr.errors import PeftCorrError, shown
from peftcorr.metrics.presets import PRESETS, Preset
from peftcorr.predictions import SIZE_COLUMNS

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def groups(table: pa.Table) -> Iterator[tuple[tuple[str, str, str], pa.Table]]:
    """Yield ``(dataset, split, predictor)`` with its rows, in the order of first appearance in the table.

    One group at a time: memory follows the largest, not how many predictors there are.

    Raises:
        PeftCorrError: if the table has no rows.
    """
    if not len(table):
        raise PeftCorrError("There are no keypoints to score.")
    columns = ["dataset", "split", "predictor"]
    keys = table.select(columns).unify_dictionaries().append_column("row", pa.array(np.arange(len(table))))
    found = keys.group_by(columns, use_threads=False).aggregate([("row", "list")])
    for (dataset, split, predictor), numbers in zip(
        zip(*(found.column(name).to_pylist() for name in columns), strict=True),
        found.column("row_list"),
        strict=True,
    ):
        yield (dataset, split, predictor), _rows(table, numbers.values.to_numpy())


def visible(rows: pa.Table) -> pa.Table:
    """Return the rows whose keypoint is not said to be occluded in the target: the truth of others is no place."""
    if "target_occluded" not in rows.column_names:  # predictions of before it was known
        return rows
    occluded = rows.column("target_occluded")
    if occluded.null_count == len(occluded):
        return rows
    return rows.filter(pc.invert(pc.fill_null(occluded, False)))


def dataset_of(rows: pa.Table) -> str:
    """Name of the dataset of rows of one, or nothing where there are none."""
    return str(rows.column("dataset")[0]) if len(rows) else ""


def frame_sizes(rows: pa.Table, preset: Preset, where: str) -> Floats | None:
    """Return what `Preset.measure` calls sizes, (N, 4), where the preset needs them.

    Raises:
        PeftCorrError: if it does and the rows do not have them, or were predicted the other way round; `where` names
            the rows.
    """
    if preset.direction == "backwards" and not _backwards(rows):
        raise PeftCorrError(
            f"The preset {shown(preset.name)} looks for keypoints of the target in the source, but the predictions of "
            f"{where} were made from source to target: run with --set preset={preset.name} to write such ones."
        )
    if not preset.needs_sizes:
        return None
    for kind, reason in (
        ("target", "were written before target sizes were kept"),
        ("reference", "have a reference length that is no side of the target's box, image or keypoints' box"),
    ):
        names = [name for name in SIZE_COLUMNS if name.startswith(kind)]
        if any(name not in rows.column_names or rows.column(name).null_count for name in names):
            others = [name for name, other in PRESETS.items() if not other.needs_sizes]
            raise PeftCorrError(
                f"The preset {shown(preset.name)} needs {names[0]} and {names[1]}, but the predictions of {where} "
                f"{reason}: score them with {', '.join(others)}"
                + (", or run again to write them." if kind == "target" else ".")
            )
    sizes = np.stack([rows.column(name).to_numpy() for name in SIZE_COLUMNS], axis=1).astype(np.float64)
    return _rounded_boxes(rows, sizes) if preset.rounds(dataset_of(rows)) else sizes


def with_whole_boxes(table: pa.Table, preset: Preset) -> pa.Table:
    """The same rows, whose sizes stay what they are for the preset when some keypoints of a pair are taken.

    Where the preset rounds keypoints down, a box round them is rounded with them, and only the whole pair tells it.

    Args:
        table: rows whose keypoints can be seen.
        preset: by which they will be scored.

    Raises:
        PeftCorrError: as `frame_sizes`.
    """
    if not preset.needs_sizes or not any(map(preset.rounds, table.column("dataset").unique().to_pylist())):
        return table
    found = []
    for (dataset, split, _), rows in groups(table):
        sizes = frame_sizes(rows, preset, f"{dataset}/{split}")
        assert sizes is not None
        for name, values in zip(SIZE_COLUMNS[2:], sizes.T[2:], strict=True):
            place = rows.schema.get_field_index(name)
            rows = rows.set_column(place, rows.schema.field(place), pa.array(values))
        found.append(rows)
    return pa.concat_tables(found)


def _backwards(rows: pa.Table) -> bool:
    """Whether all rows were predicted from target to source."""
    return "backwards" in rows.column_names and bool(
        pc.all(pc.fill_null(rows.column("backwards"), False)).as_py()
    )


def _rounded_boxes(rows: pa.Table, sizes: Floats) -> Floats:
    """Sizes whose rectangle, where it is the box round the pair's keypoints, is that round their whole pixels."""
    _, pair = np.unique(rows.column("pair").to_numpy(), return_inverse=True)
    truth = points(rows, "truth")
    low, high = (np.full((int(pair.max(initial=-1)) + 1, 2), end) for end in (np.inf, -np.inf))
    np.minimum.at(low, pair, truth)
    np.maximum.at(high, pair, truth)
    own = np.isclose((high - low)[pair], sizes[:, 2:], rtol=1e-9, atol=0).all(axis=1)
    sizes[own, 2:] = (np.floor(high) - np.floor(low))[pair][own]
    return sizes


def points(rows: pa.Table, kind: str) -> Floats:
    """Return x, y (N, 2) of ``source``, ``truth`` or ``prediction``."""
    return np.stack([rows.column(f"{kind}_{axis}").to_numpy() for axis in "xy"], axis=1)


def coded(rows: pa.Table, *columns: str) -> tuple[NDArray[Any], Integers]:
    """Return the distinct strings of a column, sorted, and for each row the index of its own.

    Of several columns: the strings of all, and the rows of one column after those of the other.
    """
    chunks = [chunk.cast(pa.string()) for name in columns for chunk in rows.column(name).chunks]
    return codes(pa.chunked_array(chunks, pa.string()))


def codes(strings: pa.ChunkedArray) -> tuple[NDArray[Any], Integers]:
    """Return the distinct strings, sorted, and for each string its index among them.

    Sorting 88,328 strings takes most of a second; hashing them first and sorting the few distinct does not.
    """
    encoded = strings.cast(pa.string()).combine_chunks().dictionary_encode()
    names = np.array(encoded.dictionary.to_pylist(), dtype=object)
    order = names.argsort()
    return names[order], order.argsort()[encoded.indices.to_numpy()]


def sums(values: NDArray[Any], index: Integers, length: int) -> Floats:
    """Sum the columns of `values` (K, N) that share an index: (K, length)."""
    return np.stack([np.bincount(index, weights=row, minlength=length) for row in values])


def _rows(table: pa.Table, numbers: Integers) -> pa.Table:
    """Some rows of a table; a view where they follow one another, as a run's own predictions do."""
    if numbers[-1] - numbers[0] + 1 == len(numbers):
        return table.slice(numbers[0], len(numbers))
    return table.take(pa.array(numbers))

"""Finding a run by its id or the beginning of it: its predictions, given by their path too, and its record by them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from peftcorr.errors import PeftCorrError, did_you_mean, shortened, shown
from peftcorr.predictions import read_predictions
from peftcorr.results.record import Record
from peftcorr.results.store import Store


def complete(run: str, known: Sequence[str]) -> str | None:
    """Return the one of `known` run ids that is `run` or begins with it; None where there is none.

    Raises:
        PeftCorrError: if more than one begins so.
    """
    if run in known:
        return run
    found = [one for one in known if run and one.startswith(run)]
    if len(found) > 1:
        raise PeftCorrError(
            f"{len(found)} runs begin with {shown(run)} ({', '.join(found[:4])}): give more of it."
        )
    return found[0] if found else None


def finished_run(run_id: str, store: Store) -> Record:
    """The record of a run that ended well.

    Args:
        run_id: id of the run, or the beginning of it.
        store: where it is.

    Raises:
        PeftCorrError: if there is none, naming the nearest or those there are, or more than one begins so; or if a
            record that was looked at is not valid.
    """
    known = store.run_ids()
    # Of thousands of records only those are read that may be the one.
    begin = [store.read(one) for one in known if run_id and one.startswith(run_id)]
    found = {record.run_id: record for record in begin if record is not None and record.status == "ok"}
    one = complete(run_id, list(found))
    if one is None:
        for other in known:  # one that was renamed is told by its name
            store.read(other)
        failed = next((record.error for record in begin if record is not None), None)
        raise PeftCorrError(
            f"There is no finished run {shortened(run_id)} in {store.root}"
            + (f": it failed ({shortened(failed, 200)})." if failed else f".{did_you_mean(run_id, known)}")
        )
    return found[one]


def find_predictions(run: str, output: Path) -> Path:
    """Return the Parquet file of a run.

    Args:
        run: run id or its beginning, or the path of a Parquet file.
        output: output folder of the runs.

    Raises:
        PeftCorrError: if there is none, or more than one begins so.
    """
    given = Path(run)
    if given.suffix == ".parquet" or len(given.parts) > 1:
        if not os.path.isfile(given):
            raise PeftCorrError(f"There is no predictions file {shortened(run, 200)}.")
        return given
    folder = Store(output).predictions_path(run).parent
    there = sorted(path.stem for path in folder.glob("*.parquet"))
    found = complete(run, there)
    if found is not None:
        return Store(output).predictions_path(found)
    if not there:
        raise PeftCorrError(
            f"There are no predictions in {folder}: give --output, or the path of a predictions file."
        )
    raise PeftCorrError(f"No predictions of a run {shown(run)} in {folder}.{did_you_mean(run, there)}")


def checked_predictions(path: Path) -> pa.Table:
    """Read predictions, after comparing them with the record beside them, if there is one.

    Raises:
        PeftCorrError: as `read_predictions`, or if they were changed since their run wrote them.
    """
    record = record_beside(path)
    if record is not None:
        folder = path.absolute().parent
        Store(folder.parent).require_whole(record, folder / path.name)
    return read_predictions(path)


def record_beside(predictions: Path) -> Record | None:
    """Return the record of the run that wrote a file of predictions; None where the file was taken elsewhere.

    Raises:
        PeftCorrError: if the record is not valid, or there is none of this name and another one is not valid.
    """
    folder = predictions.absolute().parent
    store = Store(folder.parent)
    if folder != store.predictions_path(predictions.stem).parent:
        return None
    record = store.read(predictions.stem)
    if record is None:
        store.records()  # it may stand there under another name, which this refuses
    return record

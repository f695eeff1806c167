"""Every file below an output folder: whole, changed, missing, or foreign."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from peftcorr.errors import PeftCorrError, reason
from peftcorr.files import read_json, unsealed
from peftcorr.results.record import Record
from peftcorr.results.store import Store, read_record

WHOLE: Literal["whole"] = "whole"
State = Literal["whole", "changed", "missing", "foreign", "unsealed"]

_READ = ("records/*", "predictions/*", "adapters/*", "state/*/*", "predictors/*")  # what runs read again


@dataclass(frozen=True)
class Checked:
    """What became of one file (or of a folder that is sealed as one).

    Attributes:
        name: path below the output folder.
        state: ``whole``, ``changed``, ``missing``, ``foreign`` (no run left it), or ``unsealed``: a record of version
            1, which nothing ties to what made it, or a file whose record does not say how it was.
        why: more about it, in a few words.
    """

    name: str
    state: State
    why: str = ""


def verify(root: Path) -> list[Checked]:
    """Check every record with its files, every state of a training, and every choice of a predictor.

    Raises:
        PeftCorrError: if there is no such folder.
    """
    if not root.is_dir():
        raise PeftCorrError(f"There is no folder {root}: give the output folder of runs.")
    store = Store(root)
    found = [*_records(store), *_states(store), *_choices(store)]
    known = {one.name for one in found}
    there = (path for pattern in _READ for path in sorted(root.glob(pattern)))
    names = (store.inside(path) for path in there if not path.name.startswith("."))
    return found + [Checked(name, "foreign", "no run left it here") for name in names if name not in known]


def _records(store: Store) -> Iterator[Checked]:
    for path in sorted((store.root / "records").glob("*.json")):
        name = f"records/{path.name}"
        try:
            record = read_record(path)
        except PeftCorrError as error:
            yield Checked(name, "changed", str(error))
            yield from _untold(store, path.stem)
            continue
        if record.schema_version == 1:
            yield Checked(name, "unsealed", "a record of version 1")
            yield from _untold(store, path.stem)
        else:
            yield Checked(name, WHOLE)
            yield from verify_files(store, record)


def verify_files(store: Store, record: Record) -> Iterator[Checked]:
    """Check every file that a record of version 2 tells of."""
    for file, written in record.files.items():
        path = store.root / file
        if not path.exists():
            yield Checked(file, "missing", f"the run {record.run_id} left it")
        elif store.file_digest(path)[file] != written:
            yield Checked(file, "changed", f"since the run {record.run_id} wrote it")
        else:
            yield Checked(file, WHOLE)


def _untold(store: Store, run_id: str) -> Iterator[Checked]:
    """Files of a run whose record has no digests that hold."""
    for path in (store.predictions_path(run_id), store.adapter_path(run_id), store.peft_path(run_id)):
        if path.exists():
            yield Checked(store.inside(path), "unsealed", "its record does not say how it was")


def _states(store: Store) -> Iterator[Checked]:
    for folder in sorted((store.root / "state").glob("*/*step-*")):
        damage = unsealed(folder)
        name = store.inside(folder)
        yield Checked(name, WHOLE) if damage is None else Checked(name, "changed", damage)
    for path in sorted((store.root / "state").glob("*/search.json")):
        yield _sealed(store, path)


def _choices(store: Store) -> Iterator[Checked]:
    for path in sorted((store.root / "predictors").glob("*.json")):
        yield _sealed(store, path)


def _sealed(store: Store, path: Path) -> Checked:
    name = store.inside(path)
    try:
        read_json(path)
    except (OSError, ValueError) as error:
        return Checked(name, "changed", reason(error))
    return Checked(name, WHOLE)

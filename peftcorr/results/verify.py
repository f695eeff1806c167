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


@dataclass(frozen=True)
class Checked:
    """What became of one file (or of a folder that is sealed as one).

    Attributes:
        name: path below the output folder.
        state: ``whole``, ``changed``, ``missing``, ``foreign`` (no record names it), or ``unsealed`` (a record of
            version 1, which nothing ties to what made it).
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
    return [*_records(store), *_states(store), *_choices(store)]


def _records(store: Store) -> Iterator[Checked]:
    known: set[str] = set()
    for path in sorted((store.root / "records").glob("*.json")):
        name = f"records/{path.name}"
        try:
            record = read_record(path)
        except PeftCorrError as error:
            yield Checked(name, "changed", str(error))
            # Its files cannot be told from foreign ones, but they are not.
            known |= {
                f"predictions/{path.stem}.parquet",
                f"adapters/{path.stem}.safetensors",
                f"adapters/{path.stem}",
            }
            continue
        first = record.schema_version == 1
        yield Checked(name, "unsealed", "a record of version 1") if first else Checked(name, WHOLE)
        known |= {f"predictions/{path.stem}.parquet"} if first else set()
        for file, state in _files(store, record):
            known.add(file)
            yield Checked(file, state)
    for folder, pattern in (("predictions", "*.parquet"), ("adapters", "*")):
        for path in sorted((store.root / folder).glob(pattern)):
            if f"{folder}/{path.name}" not in known:
                yield Checked(f"{folder}/{path.name}", "foreign", "no record names it")


def _files(store: Store, record: Record) -> Iterator[tuple[str, State]]:
    for file, written in record.files.items():
        path = store.root / file
        if not path.exists():
            yield file, "missing"
        else:
            yield file, WHOLE if store.file_digest(path)[file] == written else "changed"


def _states(store: Store) -> Iterator[Checked]:
    for folder in sorted((store.root / "state").glob("*/step-*")):
        damage = unsealed(folder)
        name = folder.relative_to(store.root).as_posix()
        yield Checked(name, WHOLE) if damage is None else Checked(name, "changed", damage)
    for path in sorted((store.root / "state").glob("*/search.json")):
        yield _sealed(store, path)


def _choices(store: Store) -> Iterator[Checked]:
    for path in sorted((store.root / "predictors").glob("*.json")):
        yield _sealed(store, path)


def _sealed(store: Store, path: Path) -> Checked:
    name = path.relative_to(store.root).as_posix()
    try:
        read_json(path)
    except (OSError, ValueError) as error:
        return Checked(name, "changed", reason(error))
    return Checked(name, WHOLE)

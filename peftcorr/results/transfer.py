"""What a run left in one output folder, carried to another that no disk connects with it: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from peftcorr.errors import PeftCorrError, shown
from peftcorr.files import atomic_path, passing_folder, unsealed
from peftcorr.results.store import Store

Parcel = Mapping[str, bytes]
"""Files by their paths below the output folder."""


def packed(store: Store, run_id: str) -> dict[str, bytes]:
    """All that a run left: record, predictions, adapter, and the state of its training if that is not at its end."""
    places = [store.record_path(run_id), store.predictions_path(run_id), store.adapter_path(run_id)]
    found = [path for path in places if path.is_file()]
    found += [path for path in store.peft_path(run_id).rglob("*") if path.is_file()]
    return {**_contents(store, found), **packed_state(store, run_id)}


def packed_state(store: Store, run_id: str) -> dict[str, bytes]:
    """The state of a training under way; nothing where there is none."""
    folder = store.state_path(run_id)
    found = (path for path in folder.rglob("*") if path.is_file())
    own = [path for path in found if not path.relative_to(folder).parts[0].startswith(".")]
    return _contents(store, own)


def unpack(store: Store, run_id: str, parcel: Parcel) -> None:
    """Write what `packed` found elsewhere into this output folder, the record last.

    A record of failure does not take the place of a whole run.

    Raises:
        PeftCorrError: if something is missing, or is not as the run wrote it, or cannot be written.
    """
    store.root.mkdir(parents=True, exist_ok=True)
    with passing_folder(store.root / run_id) as folder:
        there = Store(folder)
        for name, content in parcel.items():
            _require_own(there, run_id, name)
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        _require_whole(there, run_id)
        record = there.read(run_id)
        if record is not None and record.status == "failed" and store.is_whole(run_id):
            return
        states = sorted(there.state_path(run_id).glob("*"))
        results = [there.predictions_path(run_id), there.adapter_path(run_id)]
        results += sorted(there.peft_path(run_id).rglob("*"))
        for path in (*states, *results, there.record_path(run_id)):
            if path.is_dir() and path.parent == there.state_path(run_id):
                _move_state(path, store.root / path.relative_to(folder))
            elif path.is_file():
                with atomic_path(store.root / path.relative_to(folder)) as temporary:
                    path.replace(temporary)
    if record is not None and record.status == "ok":
        store.drop_state(run_id)


def _contents(store: Store, paths: list[Path]) -> dict[str, bytes]:
    return {path.relative_to(store.root).as_posix(): path.read_bytes() for path in paths}


def _require_own(store: Store, run_id: str, name: str) -> None:
    """Refuse a name that is no file of this run."""
    path = PurePosixPath(name)
    files = (store.record_path(run_id), store.predictions_path(run_id), store.adapter_path(run_id))
    folders = (store.peft_path(run_id), store.state_path(run_id))
    own = store.root / path in files or any(folder in (store.root / path).parents for folder in folders)
    if not own or ".." in path.parts or path.is_absolute():
        raise PeftCorrError(f"The run {run_id} came with a file that is not its own, {shown(name)}.")


def _require_whole(store: Store, run_id: str) -> None:
    record = store.read(run_id)
    for name, written in (record.files if record is not None else {}).items():
        path = store.root / name
        if not path.exists() or store.file_digest(path)[name] != written:
            raise PeftCorrError(f"{name} did not come whole: the same command tries again.")
    for state in store.state_path(run_id).glob("*step-*"):
        if (damage := unsealed(state)) is not None:
            raise PeftCorrError(f"The training state of {run_id} did not come whole ({damage}).")


def _move_state(path: Path, goal: Path) -> None:
    """Put a state beside the earlier ones; where it stands already, it is the same."""
    if goal.is_dir():
        return
    try:
        goal.parent.mkdir(parents=True, exist_ok=True)
        for file in path.rglob("*"):
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        path.rename(goal)
    except OSError as error:
        raise PeftCorrError(f"Cannot write {goal}: {error.strerror or error}. Free some space.") from error

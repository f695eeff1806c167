"""Which run somebody means: by its id, a path, or its name on the hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from peftcorr.errors import PeftCorrError, shortened
from peftcorr.model.finished import finished_run
from peftcorr.results.record import Record
from peftcorr.results.store import Store

_ON_THE_HUB = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+(@[A-Za-z0-9_./-]+)?")


def find_run(run: str | os.PathLike[str], output: Path) -> tuple[Record, Store]:
    """The record of a finished run, and where its adapter is.

    Args:
        run: one of these, the first that fits: the path of a record (``runs/records/3f2a….json``); a folder with
            ``records/`` that has one run alone, as one is shared; an output folder with a run's id or the beginning
            of it (``runs/3f2a``); an id or its beginning, in `output`; ``user/name`` or ``user/name@revision`` on the
            hub.
        output: folder of the runs.

    Raises:
        PeftCorrError: if there is no such run, more than one is meant, or its record is not valid.
    """
    text = os.fspath(run)
    path = Path(text)
    if path.suffix == ".json" and path.parent.name == "records":
        return _of(path.stem, path.parent.parent)
    if _has_records(path):
        return _only(path)
    if len(path.parts) > 1 and _has_records(path.parent):
        return _of(path.name, path.parent)
    if len(path.parts) == 1:
        return _of(text, output)
    if _ON_THE_HUB.fullmatch(text) and not path.exists():
        return _only(_fetched(text))
    raise PeftCorrError(
        f"There is no run {shortened(text, 200)}: give a run's id or its beginning, with its output folder before it "
        "(runs/3f2a), the path of its record, or a name on the hub (user/name)."
    )


def _has_records(folder: Path) -> bool:
    return os.path.isdir(folder / "records")


def _of(run_id: str, root: Path) -> tuple[Record, Store]:
    store = Store(root)
    return finished_run(run_id, store), store


def _only(folder: Path) -> tuple[Record, Store]:
    """The one run of a folder."""
    store = Store(folder)
    found = store.run_ids()
    if len(found) != 1:
        raise PeftCorrError(
            f"{folder} has {len(found)} runs: name one, as in {folder}/{found[0] if found else 'RUN'}."
        )
    return finished_run(found[0], store), store


def _fetched(name: str) -> Path:
    """The folder of a run that is shared on the hub."""
    from peftcorr.model.hub import fetch  # its libraries are slow, and a run at hand needs none of them

    return fetch(name)

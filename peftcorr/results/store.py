"""Where a run's files live below the output folder."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from peftcorr.errors import PeftCorrError, reason, shortened
from peftcorr.files import SEAL, beside, digest, manifest, read_json, remove_dead, sha256, write_json
from peftcorr.files.reading import opened, parse_json
from peftcorr.machine.lease import Holder, Lease, living
from peftcorr.results.identity import run_id
from peftcorr.results.record import Record

# What runs and the leaderboard write below an output folder; all of it can be told from the source by name.
GENERATED = (
    "records",
    "predictions",
    "adapters",
    "state",
    "logs",
    "trackers",
    "predictors",
    "figures",
    "breakdowns",
    "README.md",
    "leaderboard.csv",
)


_CLAIM = ".claim"


class Store:
    """The output folder: ``records/``, ``predictions/``, ``adapters/``, ``state/`` and ``logs/``, each by run id.

    ``predictors/`` has what was chosen for each backbone.
    """

    def __init__(self, root: Path):
        self.root = root

    def record_path(self, run_id: str) -> Path:
        """JSON record of a run."""
        return self.root / "records" / f"{run_id}.json"

    def predictions_path(self, run_id: str) -> Path:
        """Parquet file with every prediction of a run."""
        return self.root / "predictions" / f"{run_id}.parquet"

    def adapter_path(self, run_id: str) -> Path:
        """Tensors that the strategy trained, and nothing else."""
        return self.root / "adapters" / f"{run_id}.safetensors"

    def peft_path(self, run_id: str) -> Path:
        """Folder with the same adapter as Hugging Face peft reads it, of methods that are peft's."""
        return self.root / "adapters" / run_id

    def state_path(self, run_id: str) -> Path:
        """Folder with the resumable state of a training under way."""
        return self.root / "state" / run_id

    def predictor_path(self, backbone: str, weights_id: str, image_size: int) -> Path:
        """Predictor chosen for a backbone with some weights at one input size, whose maps a radius in cells fits."""
        name = re.sub(r"[^\w.+-]", "_", f"{backbone}-{weights_id}-{image_size}px", flags=re.ASCII)
        if len(name) > 200:  # a file's name has 255 bytes at most
            name = f"{name[:180]}-{digest(name)[:8]}"
        return self.root / "predictors" / f"{name}.json"

    def read(self, run_id: str) -> Record | None:
        """The record of a run, or None if there is none."""
        path = self.record_path(run_id)
        return read_record(path) if os.path.lexists(path) else None

    def is_whole(self, run_id: str) -> bool:
        """Whether a run ended well and all it made is there; a record alone may have come with the repository."""
        record = self.read(run_id)
        return record is not None and record.status == "ok" and self.predictions_path(run_id).is_file()

    def can_resume(self, run_id: str) -> bool:
        """Whether a training that was stopped left a state to go on from."""
        return any(not path.name.startswith(".") for path in self.state_path(run_id).glob("*"))

    @property
    def trackers_path(self) -> Path:
        """Folder of what trackers without a server are told."""
        return self.root / "trackers"

    def log_path(self, run_id: str) -> Path:
        """What a run that a worker carried out printed."""
        return self.root / "logs" / f"{run_id}.log"

    def worker(self, run_id: str) -> Holder | None:
        """Who is at work on a run, and how far; None if nobody is."""
        return living(self._claim_path(run_id))

    def _claim_path(self, run_id: str) -> Path:
        return self.root / "records" / f".{run_id}{_CLAIM}"

    def claim(self, run_id: str) -> Lease:
        """What whoever works on a run holds: two starts in one folder do not write the same files.

        Raises:
            PeftCorrError: if the folder cannot be written.
        """
        path = self._claim_path(run_id)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PeftCorrError(f"Cannot write {path.parent}: {error.strerror or error}.") from error
        return Lease(path)

    def drop_state(self, run_id: str) -> None:
        """Remove the state of a run that is done."""
        state = self.state_path(run_id)
        dropped = beside(state, "dropped")
        shutil.rmtree(dropped, ignore_errors=True)
        with suppress(FileNotFoundError):
            state.rename(dropped)  # at once: half a state would be taken for the beginning of another
        shutil.rmtree(dropped, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what killed processes left; what a live one is at stays, and so does what can be gone on from."""
        remove_dead(self.root)
        states = {path.name for path in (self.root / "state").glob("[!.]*")}
        claims = (path.name for path in (self.root / "records").glob(f".*{_CLAIM}"))
        for name in states | {name.removesuffix(_CLAIM)[1:] for name in claims}:
            claim = self.claim(name)
            with suppress(OSError):
                if claim.take():
                    self._tidy_state(name)
                    claim.give_back()

    def _tidy_state(self, run_id: str) -> None:
        state, record = self.state_path(run_id), self.record_path(run_id)
        for left in state.glob(".writing-*"):
            shutil.rmtree(left, ignore_errors=True)
        if not state.is_dir() or not record.is_file():
            return
        # Killed between the record and the end. The state of a run that is done anew is younger than its record.
        older = state.stat().st_mtime_ns <= record.stat().st_mtime_ns
        if older and self.is_whole(run_id):
            self.drop_state(run_id)

    def write(self, record: Record) -> Path:
        """Write a record atomically, on one line, so that a new record is one line of a reader's diff.

        Raises:
            PeftCorrError: if it cannot be written; an earlier record of that run stays as it was.
        """
        path = self.record_path(record.run_id)
        write_json(path, record.model_dump(mode="json"))
        return path

    def inside(self, path: Path) -> str:
        """What a record calls a file: its path below the output folder."""
        return path.relative_to(self.root).as_posix()

    def file_digest(self, path: Path) -> dict[str, str]:
        """Digest of a run's file, or of all files of a folder, by its path below the output folder."""
        found = digest(manifest(path)) if path.is_dir() else sha256(path)
        return {self.inside(path): found}

    def require_whole(self, record: Record, path: Path) -> None:
        """Refuse one of a run's files if it is not as the run wrote it; what version 1 recorded cannot be told.

        Raises:
            PeftCorrError: if it was changed.
        """
        name = self.inside(path)
        written = record.files.get(name)
        if written is not None and path.exists() and self.file_digest(path)[name] != written:
            raise PeftCorrError(
                f"{path} was changed since the run {record.run_id} wrote it: run it again with --overwrite always."
            )

    def run_ids(self) -> list[str]:
        """Ids of all runs with a record, sorted; none is read."""
        return sorted(path.stem for path in (self.root / "records").glob("[!.]*.json"))

    def records(self) -> list[Record]:
        """All records, in the order of their run ids.

        Raises:
            PeftCorrError: if one of them is no valid record, naming its file.
        """
        return [read_record(path) for path in sorted((self.root / "records").glob("*.json"))]


def read_record(path: Path) -> Record:
    """Read and validate one record.

    Raises:
        PeftCorrError: if the file is no valid record.
    """
    try:
        with opened(path) as stream:
            document = parse_json(stream.read())
        first = isinstance(document, dict) and document.get("schema_version") == 1
        record = Record.model_validate(document if first and SEAL not in document else read_json(path))
        if first and (record.ingredients or record.files):
            raise ValueError("version 1 has neither ingredients nor files")
        named = record.run_id if first else run_id(record.recipe, record.ingredients)
        if not record.run_id == named == path.stem:
            raise ValueError("its name, its run_id and its recipe do not agree")
    except (OSError, ValueError) as error:  # those of JSON, of UTF-8 and of pydantic among them
        raise PeftCorrError(
            f"{path} is no valid record ({_first_problem(error)}): delete it and run it again, or bring back the file."
        ) from error
    return record


def _first_problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{shortened('.'.join(map(str, first['loc']))) or 'file'}: {shortened(first['msg'], 200)}"
    return (isinstance(error, OSError) and error.strerror) or reason(error)

"""Where a run's files live below the output folder."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import ValidationError

from peftcorr.errors import PeftCorrError
from peftcorr.files import atomic_path
from peftcorr.results.record import Record

# What runs and the leaderboard write below an output folder; all of it can be told from the source by name.
GENERATED = (
    "records",
    "predictions",
    "adapters",
    "state",
    "predictors",
    "figures",
    "breakdowns",
    "README.md",
)


class Store:
    """The output folder: ``records/``, ``predictions/``, ``adapters/`` and ``state/``, each by run id.

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
        name = re.sub(r"[^\w.+-]", "_", f"{backbone}-{weights_id}-{image_size}px")
        return self.root / "predictors" / f"{name}.json"

    def read(self, run_id: str) -> Record | None:
        """The record of a run, or None if there is none."""
        path = self.record_path(run_id)
        return read_record(path) if path.is_file() else None

    def is_whole(self, run_id: str) -> bool:
        """Whether a run ended well and all it made is there; a record alone may have come with the repository."""
        record = self.read(run_id)
        return record is not None and record.status == "ok" and self.predictions_path(run_id).is_file()

    def can_resume(self, run_id: str) -> bool:
        """Whether a training that was stopped left a state to go on from."""
        return any(not path.name.startswith(".") for path in self.state_path(run_id).glob("*"))

    def write(self, record: Record) -> Path:
        """Write a record atomically, on one line, so that a new record is one line of a reader's diff.

        Raises:
            PeftCorrError: if it cannot be written; an earlier record of that run stays as it was.
        """
        path = self.record_path(record.run_id)
        with atomic_path(path) as temporary:
            temporary.write_text(record.model_dump_json() + "\n", encoding="utf-8")
        return path

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
        return Record.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise PeftCorrError(
            f"{path} is no valid record ({_first_problem(error)}): mend or delete it."
        ) from error


def _first_problem(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}"
    return str(error)

"""What names the weights of a backbone in a record: where they come from and the hash of their files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from peftcorr.errors import PeftCorrError

EMBEDDED = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Weights:
    """Where a backbone's weights come from: a local folder, or the official ones (`folder` is None).

    Attributes:
        id: name shown in records.
        sha256: hash of the weights file; None for weights that the hub has not been asked for yet.
        folder: folder in Hugging Face format (or the file that a family's own package publishes).
        parts: of a backbone made of several, the weights of each.
    """

    id: str
    sha256: str | None
    folder: Path | None
    official: bool
    parts: tuple[Weights, ...] = ()


def local_weights(folder: Path, official: bool = False) -> Weights:
    """Identify the weights in `folder`, which is named after them.

    Raises:
        PeftCorrError: if the folder, its ``config.json`` or its ``model.safetensors`` is missing, or a part of the
            latter where it is published in parts.
    """
    files = [folder / "config.json", *_tensor_files(folder)]
    for file in files:
        if not file.is_file():
            raise PeftCorrError(
                f"--weights {folder}: there is no {file.name} in it; give a folder in Hugging Face format "
                "(config.json and model.safetensors)."
            )
    return Weights(folder.resolve().name, sha256(*files[1:]), folder, official)


def _tensor_files(folder: Path) -> list[Path]:
    """``model.safetensors``, or the parts that the hub's index names: models of many gigabytes come in several."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file() or not index.is_file():
        return [whole]
    try:
        return [folder / name for name in sorted(set(json.loads(index.read_bytes())["weight_map"].values()))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PeftCorrError(
            f"--weights {folder}: {index.name} cannot be read ({type(error).__name__}): fetch the file again."
        ) from error


def sha256(*paths: Path) -> str:
    """Hash of a file's bytes (of several, one after the other), in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()

"""What names the weights of a backbone in a record: where they come from and the hash of their files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peftcorr.errors import PeftCorrError
from peftcorr.files import sha256
from peftcorr.files.reading import parse_json, read_bytes

EMBEDDED = Path(__file__).parent / "weights"

# Models of many gigabytes are published in several files, with an index of them.
PUBLISHED = ("config.json", "model.safetensors", "model.safetensors.index.json", "model-*.safetensors")


@dataclass(frozen=True)
class Weights:
    """Where a backbone's weights come from: a local folder, or the official ones (`folder` is None).

    Attributes:
        id: name shown in records.
        sha256: hash of the weights file; None for weights that the hub has not been asked for yet.
        folder: folder in Hugging Face format (or the file that a family's own package publishes).
        parts: of a backbone made of several, the weights of each.
        commit: revision of the hub's repository that they were fetched from.
    """

    id: str
    sha256: str | None
    folder: Path | None
    official: bool
    parts: tuple[Weights, ...] = ()
    commit: str | None = None

    @property
    def on_the_hub(self) -> bool:
        """Whether they are the hub's and not fetched yet; a plugin's backbone may need none, and name no repository."""
        return any(part.on_the_hub for part in self.parts) or (
            self.folder is None and not self.parts and "/" in self.id
        )


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
        return [folder / name for name in sorted(set(parse_json(read_bytes(index))["weight_map"].values()))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PeftCorrError(
            f"--weights {folder}: {index.name} cannot be read ({type(error).__name__}): fetch the file again."
        ) from error


def joined(parts: Sequence[Weights]) -> Weights:
    """Weights of a backbone that is made of several: a hash of their hashes, if all are known."""
    hashes, commits = [part.sha256 for part in parts], [part.commit for part in parts]
    return Weights(
        id=" + ".join(part.id for part in parts),
        sha256=None if None in hashes else hashlib.sha256(" ".join(map(str, hashes)).encode()).hexdigest(),
        folder=None,
        official=all(part.official for part in parts),
        parts=tuple(parts),
        commit=" + ".join(commit or "-" for commit in commits) if any(commits) else None,
    )

"""What names the weights of a backbone in a record: where they come from and the hash of their files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peftcorr.errors import PeftCorrError, reason
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
        sha256: hash of the weights file, or of all its parts one after the other; None for weights that the hub has
            not been asked for yet.
        folder: folder in Hugging Face format, or a single file.
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


FILES = (".pth", ".pt", ".bin", ".safetensors")
"""How the name of a single file of weights may end."""


def local_weights(folder: Path, official: bool = False) -> Weights:
    """Identify the weights in `folder`, which is named after them.

    Raises:
        PeftCorrError: if the folder, its ``config.json`` or its tensors are missing, or a part of the latter where
            they lie in several files.
    """
    if folder.is_file():
        raise PeftCorrError(
            f"--weights {folder} is a file: for this backbone give a folder in Hugging Face format (config.json and "
            "model.safetensors)."
        )
    files = [folder / "config.json", *tensor_files(folder)]
    for file in files:
        if not file.is_file():
            part = "its index names it: fetch it too" if len(files) > 2 and file != files[0] else _FORMAT
            raise PeftCorrError(f"--weights {folder}: there is no {file.name} in it; {part}.")
    return Weights(folder.resolve().name, sha256(*files[1:]), folder, official)


_FORMAT = (
    "give a folder in Hugging Face format (config.json and model.safetensors or pytorch_model.bin), or the file that "
    "the model's makers publish"
)


def file_weights(file: Path) -> Weights:
    """Identify a single file of weights, which is named after it.

    Raises:
        PeftCorrError: if there is no such file.
    """
    if not file.is_file():
        raise PeftCorrError(f"--weights {file}: there is no such file; {_FORMAT}.")
    return Weights(file.resolve().name, sha256(file), file, official=False)


def is_file(given: Path) -> bool:
    """Whether what was given is, or is called like, a single file of weights; else it is a folder."""
    return given.is_file() or (given.suffix in FILES and not given.is_dir())


def tensor_files(folder: Path) -> list[Path]:
    """The files of a folder that hold its tensors, sorted; ``model.safetensors`` where there are none.

    They are ``model.safetensors``, else ``pytorch_model.bin``, each whole or in the parts that its index names, as
    models of many gigabytes come.

    Raises:
        PeftCorrError: if an index cannot be read, or names something outside of the folder.
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            return [folder / part for part in _parts(index)]
    return [folder / "model.safetensors"]


def _parts(index: Path) -> list[str]:
    try:
        parts = sorted(set(parse_json(read_bytes(index))["weight_map"].values()))
        if not parts or any(not part or Path(part).name != part for part in parts):
            raise ValueError("it must name files beside it")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PeftCorrError(
            f"--weights {index.parent}: {index.name} cannot be read ({reason(error)}): fetch the file again."
        ) from error
    return parts


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

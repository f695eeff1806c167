"""Which images of an annotation belong to which split, where it does not say so itself.

splits/<trn|val|test>.txt          one image a line, by its path below the image folder
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from peftcorr.data.splits import SPLITS, WORDS
from peftcorr.errors import PeftCorrError, reason, shown
from peftcorr.files import whole_folder
from peftcorr.files.reading import read_text

FOLDER = "splits"


def split_called(word: str) -> str | None:
    """The split that a tool calls so, in whatever case; None if it is no word for one."""
    return next((split for split in SPLITS if word.strip().lower() in WORDS[split]), None)


def listed_splits(folder: Path) -> list[str]:
    """Splits that have a list below a dataset's folder."""
    return [split for split in SPLITS if _path(folder, split).is_file()]


def read_lists(folder: Path) -> dict[str, str]:
    """The split of each image that a list names.

    Raises:
        PeftCorrError: if a list cannot be read, or names an image that another line has.
    """
    found: dict[str, tuple[str, str]] = {}
    for split in listed_splits(folder):
        path = _path(folder, split)
        for number, line in enumerate(read_text(path).split("\n"), start=1):
            image, here = line.removesuffix("\r"), f"{path}, line {number}"
            if not image.strip():
                continue
            if image in found:
                raise PeftCorrError(
                    f"{here}: the image {shown(image)} is listed already ({found[image][1]}): remove one."
                )
            found[image] = (split, f"{split}.txt, line {number}")
    return {image: split for image, (split, _) in found.items()}


def require_known(folder: Path, lists: Mapping[str, str], images: set[str]) -> None:
    """Refuse lists that name an image which the annotation does not have.

    Raises:
        PeftCorrError: naming the first.
    """
    unknown = next((image for image in lists if image not in images), None)
    if unknown is not None:
        raise PeftCorrError(
            f"{_path(folder, lists[unknown])} lists {shown(unknown)}, which the annotation does not have: delete "
            f"{folder / FOLDER} and divide the folder anew with peftcorr data split."
        )


def require_undivided(folder: Path) -> Path:
    """The folder that lists go to, which is not there yet.

    Raises:
        PeftCorrError: if it is.
    """
    goal = folder / FOLDER
    if goal.exists():
        raise PeftCorrError(f"{goal} is there already: delete it to divide the folder anew.")
    return goal


def write_lists(folder: Path, lists: Mapping[str, Sequence[str]]) -> Path:
    """Write the images of each split into a new folder `splits`, and nothing else; returns it.

    Raises:
        PeftCorrError: if it is there already or cannot be written.
    """
    goal = require_undivided(folder)
    try:
        with whole_folder(goal) as temporary:
            for split, images in lists.items():
                text = "".join(f"{image}\n" for image in images)
                (temporary / f"{split}.txt").write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise PeftCorrError(
            f"Cannot write {goal}: {error.strerror or reason(error)}. The lists stand beside the data: choose a folder "
            "that can be written."
        ) from error
    return goal


def _path(folder: Path, split: str) -> Path:
    return folder / FOLDER / f"{split}.txt"

"""What splits are called: ``trn``, ``val`` and ``test`` here, and otherwise in the folders that people have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from peftcorr.errors import PeftCorrError, shortened

SPLITS = ("trn", "val", "test")
WORDS = {
    "trn": ("trn", "train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}

_NAMED = 5  # files that a message lists


def place_of_split(split: str, place: Callable[[str], Path]) -> tuple[str, Path] | None:
    """The word that a split is called by where it is there, and its place; None where it is not.

    Args:
        split: one of `SPLITS`.
        place: where its file lies if it is called so.

    Raises:
        PeftCorrError: if it is there by two words, which cannot both be it.
    """
    there = {path: word for word in WORDS.get(split, ()) if (path := place(word)).is_file()}
    if len(there) > 1:
        one, other, *_ = there
        raise PeftCorrError(f"{one} and {other} would both be the {split} split: rename one of them.")
    return next(((word, path) for path, word in there.items()), None)


def words() -> str:
    """All the words, for a message."""
    return "; ".join(f"{split}: {', '.join(others)}" for split, others in WORDS.items())


def listed(paths: Iterable[Path], root: Path) -> str:
    """A few paths below `root`, for a message; empty where there are none."""
    names = sorted(path.relative_to(root).as_posix() for path in paths)
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(shortened(name) for name in names[:_NAMED]) + more

"""The errors a user can mend; the command line prints them as one sentence and exits with 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PeftCorrError(Exception):
    """Something the user can mend: the message names the file or option and says how."""


class RecipeFails(PeftCorrError):
    """What a recipe says cannot be done, here or anywhere: the same recipe fails again.

    Every other error is of the machine, or of files on it, and may be gone when the same command is run again.
    """


class TrainingDiverged(RecipeFails):
    """The loss is no longer finite; nothing after that step can be trusted."""


def told(error: Exception) -> str:
    """What went wrong, as one sentence or two: of an error of ours its own, of others what can be done about it."""
    if isinstance(error, PeftCorrError):
        return str(error)
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    # torch says so in several ways: OutOfMemoryError is its GPUs', the CPU's allocator raises a plain RuntimeError.
    if isinstance(error, MemoryError) or "OutOfMemory" in text or "can't allocate memory" in text:
        return (
            f"Out of memory ({text[:200]}): free some, or lower training.images, encode_batch or --memory, and run the "
            "same command again."
        )
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the nearest known name; nothing where none is near."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return what `nearest` does, or the list of what there is."""
    known = sorted(known)
    return nearest(name, known) or f" Known: {', '.join(known) or 'nothing'}."

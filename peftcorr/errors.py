"""The errors a user can mend; the command line prints them as one sentence and exits with 2.

What a sentence quotes of others is shown: on one line, without a control character, and not longer than it need be.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_NAMED = 60  # names that a message lists


class PeftCorrError(Exception):
    """Something the user can mend: the message names the file or option and says how."""


class RecipeFails(PeftCorrError):
    """What a recipe says cannot be done, here or anywhere: the same recipe fails again.

    Every other error is of the machine, or of files on it, and may be gone when the same command is run again.
    """


class TrainingDiverged(RecipeFails):
    """The loss is no longer finite; nothing after that step can be trusted."""


class BrokenContract(RecipeFails):
    """A class does not do what its kind promises; the message names it, what it did and the mend."""


class PluginFailed(PeftCorrError):
    """A plugin's own code raised an error, or tried to end the process; the message has file and line."""


def visible(text: str) -> str:
    """A text with its control characters written out, so that none takes effect wherever it is shown.

    Line breaks, invisible characters, marks that turn the direction of writing and halves of characters count as such.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def shortened(text: str, most: int = 60) -> str:
    """A text without control characters, cut after `most` letters, the last of which then say so."""
    text = visible(text[: most + 1])
    return text if len(text) <= most else f"{text[: most - 1]}…"


def shown(value: object) -> str:
    """A value as a message gives it: on one line, cut after 60 letters."""
    try:
        return shortened(repr(value[:80] if isinstance(value, (str, bytes)) else value))
    except (ValueError, RecursionError):  # thousands of digits, or of levels
        return f"a huge {type(value).__name__}"


def reason(error: BaseException) -> str:
    """What a library's error says, on one line of at most 200 letters; the error's kind where it says nothing."""
    return shortened(" ".join(str(error).split()), 200) or type(error).__name__


def told(error: Exception) -> str:
    """What went wrong, as one sentence or two: of an error of ours its own, of others what can be done about it."""
    if isinstance(error, PeftCorrError):
        return str(error)
    text = f"{type(error).__name__}: {reason(error)}"
    if is_memory(error):
        return (
            f"Out of memory ({text}): free some, or lower training.images, encode_batch or --memory, and run the "
            "same command again."
        )
    return text


def is_memory(error: BaseException) -> bool:
    """Whether memory was not there.

    torch says so in several ways: OutOfMemoryError is its GPUs', the CPU's allocator raises a plain RuntimeError.
    """
    named = type(error).__name__ == "OutOfMemoryError"
    return named or isinstance(error, MemoryError) or "can't allocate memory" in str(error)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the nearest known name; nothing where none is near."""
    near = difflib.get_close_matches(name[:200], sorted(known), n=1, cutoff=0.5)
    return f" Did you mean {shown(near[0])}?" if near else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return what `nearest` does, or the list of what there is."""
    known = sorted(known)
    more = f" and {len(known) - _NAMED:,} more" if len(known) > _NAMED else ""
    listed = ", ".join(shortened(one) for one in known[:_NAMED])
    return nearest(name, known) or f" Known: {listed or 'nothing'}{more}."

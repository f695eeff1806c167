"""The errors a user can mend; the command line prints them as one sentence and exits with 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PeftCorrError(Exception):
    """Something the user can mend: the message names the file or option and says how."""


class BrokenContract(PeftCorrError):
    """A class does not do what its kind promises; the message names it, what it did and the mend."""


class PluginFailed(PeftCorrError):
    """A plugin's own code raised an error, or tried to end the process; the message has file and line."""


class TrainingDiverged(PeftCorrError):
    """The loss is no longer finite; nothing after that step can be trusted."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the nearest known name; nothing where none is near."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return what `nearest` does, or the list of what there is."""
    known = sorted(known)
    return nearest(name, known) or f" Known: {', '.join(known) or 'nothing'}."

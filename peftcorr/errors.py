"""The errors a user can mend; the command line prints them as one sentence and exits with 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PeftCorrError(Exception):
    """Something the user can mend: the message names the file or option and says how."""


class TrainingDiverged(PeftCorrError):
    """The loss is no longer finite; nothing after that step can be trusted."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the nearest known name, or the list of what there is."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" Known: {', '.join(known) or 'nothing'}."

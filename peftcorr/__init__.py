"""Parameter-efficient fine-tuning of vision foundation models on semantic correspondence.

`load` gives a trained model, or a backbone as it comes, that matches pictures; `evaluate` scores it on a dataset,
`train` trains one by a recipe, and `leaderboard` has the rows of a folder of runs. Importing this imports none of the
libraries that they stand on.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from peftcorr.machine.version import VERSION as __version__

if TYPE_CHECKING:
    from peftcorr.model.evaluate import evaluate
    from peftcorr.model.load import load
    from peftcorr.report.table import leaderboard
    from peftcorr.sweep.train import train

__all__ = ["__version__", "evaluate", "leaderboard", "load", "train"]

_PLACES = {
    "evaluate": "peftcorr.model.evaluate",
    "leaderboard": "peftcorr.report.table",
    "load": "peftcorr.model.load",
    "train": "peftcorr.sweep.train",
}


if not TYPE_CHECKING:  # else a type checker would take any name

    def __getattr__(name: str) -> object:
        """Import what is asked for the first time."""
        place = _PLACES.get(name)
        if place is None:
            raise AttributeError(f"module 'peftcorr' has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(place), name)
        return found


def __dir__() -> list[str]:
    return sorted(__all__)

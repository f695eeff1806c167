"""The test split stays closed while anything is still trained or chosen.

Outside a run the splits of a dataset are open to anybody. Within ``with selecting():`` every way to the test split is
refused: `DatasetSource.load` of any dataset, plugins included, splits that the workbench opened for an earlier run, and
predicting on a test split that somebody kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from peftcorr.errors import PeftCorrError

TEST = "test"
_under_way: list[
    str
] = []  # of this process and all its threads: what still trains or selects, innermost last


@contextmanager
def selecting(what: str = "training and selection") -> Iterator[None]:
    """Close the test split for as long as the block runs; `what` names the block in the refusal."""
    _under_way.append(what)
    try:
        yield
    finally:
        _under_way.pop()


def require_open(split: str) -> None:
    """Let a split be read, unless it is the test split and something is still being chosen.

    Raises:
        PeftCorrError: if it is.
    """
    if split == TEST and _under_way:
        raise PeftCorrError(
            f"The test split was asked for before {_under_way[-1]} had ended: train on trn and select on val; test is "
            "read once, for the final scores."
        )

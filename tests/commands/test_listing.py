from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from rich.console import Console

from peftcorr.backbones import BACKBONES
from peftcorr.commands import listing
from peftcorr.engine.cost import parameter_counts
from peftcorr.errors import PeftCorrError

NAMES = ("tiny", "sam_vitb")
STRATEGIES = ["lora", "vpt", "norm"]


@pytest.mark.parametrize("cores", [1, 2])
def test_counts_are_the_same_in_processes_of_their_own(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "processors", lambda: cores)
    made: list[int | None] = []

    class Noted(ProcessPoolExecutor):
        def __init__(self, workers: int | None, *others: Any, **options: Any):
            made.append(workers)
            super().__init__(workers, *others, **options)

    monkeypatch.setattr(listing, "ProcessPoolExecutor", Noted)
    found = dict(listing._counted(NAMES, STRATEGIES))
    assert made == ([2] if cores == 2 and sys.platform == "linux" else [])
    for name in NAMES:
        for (strategy, counts), (wanted, expected) in zip(
            found[name], parameter_counts(BACKBONES.get(name), STRATEGIES), strict=True
        ):
            assert strategy == wanted
            if isinstance(expected, PeftCorrError):
                assert isinstance(counts, PeftCorrError)
                assert str(counts) == str(expected)
            else:
                assert counts == expected
    assert isinstance(dict(found["sam_vitb"])["vpt"], PeftCorrError)


def test_unknown_strategy_is_said_by_the_process_that_met_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "processors", lambda: 2)
    with pytest.raises(PeftCorrError, match="loar"):
        listing.print_parameters(NAMES, ["loar"], Console())

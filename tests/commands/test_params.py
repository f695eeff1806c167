from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from peftcorr.backbones import BACKBONES
from peftcorr.cli import main
from peftcorr.commands import params
from peftcorr.engine.cost import parameter_counts
from peftcorr.errors import PeftCorrError

NAMES = ("tiny", "sam_vitb")
STRATEGIES = ["lora", "vpt", "norm"]


@pytest.mark.parametrize("cores", [1, 2])
def test_counts_are_the_same_in_processes_of_their_own(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(params, "processors", lambda: cores)
    made: list[int | None] = []

    class Noted(ProcessPoolExecutor):
        def __init__(self, workers: int | None, *others: Any, **options: Any):
            made.append(workers)
            super().__init__(workers, *others, **options)

    monkeypatch.setattr(params, "ProcessPoolExecutor", Noted)
    found = dict(params.counts(NAMES, STRATEGIES))
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
    monkeypatch.setattr(params, "processors", lambda: 2)
    with pytest.raises(PeftCorrError, match="loar"):
        list(params.counts(NAMES, ["loar"]))


@pytest.mark.parametrize(
    ("strategy", "backbone", "row"),
    [
        ("lora", "dinov2_vits14", ("147,456", "22,203,648", "0.664")),
        ("frozen", "dinov2_vits14", ("0", "22,056,192", "0.000")),
        ("last_k", "dinov2_vitb14", ("7,090,944", "86,579,712", "8.190")),
    ],
)
def test_params_counts_without_weights(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, strategy: str, backbone: str,
    row: tuple[str, str, str],
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "220")
    assert main(["params", "--strategy", strategy, "--backbone", backbone]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if backbone in line]
    assert line.split() == [backbone, strategy, *row]


def test_params_of_an_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params", "--strategy", "lorra"]) == 2
    assert "Did you mean 'lora'?" in capsys.readouterr().err

from __future__ import annotations

import pytest

from peftcorr.backbones import BACKBONES
from peftcorr.cli import main
from peftcorr.engine.cost import parameter_counts
from peftcorr.errors import PeftCorrError

NAMES = ("tiny", "sam_vitb")
STRATEGIES = ("lora", "vpt", "norm")


def test_every_combination_has_its_counts_or_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params", "--strategy", *STRATEGIES, "--backbone", *NAMES]) == 0
    _, *lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    expected = []
    reasons = []
    for name in NAMES:
        for strategy, found in parameter_counts(BACKBONES.get(name), STRATEGIES):
            if isinstance(found, PeftCorrError):
                expected.append([name, strategy, "impossible"])
                reasons.append(f"{strategy} on {name}: {found}".split())
            else:
                trainable, total = found
                share = f"{100 * trainable / total:.3f}"
                expected.append([name, strategy, f"{trainable:,}", f"{total:,}", share])
    assert reasons, "vpt needs tokens, which SAM has not"
    assert lines == expected + reasons


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


@pytest.mark.parametrize(("option", "near"), [("--strategy", "lora"), ("--backbone", "tiny")])
def test_params_of_an_unknown_name(capsys: pytest.CaptureFixture[str], option: str, near: str) -> None:
    assert main(["params", option, f"{near}a"]) == 2
    assert f"Did you mean {near!r}?" in capsys.readouterr().err

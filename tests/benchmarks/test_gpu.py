"""The GPU's page: said where there is no GPU, and made where there is a device at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gpu
import pytest
import torch


def test_without_a_gpu_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--page", str(tmp_path)]) == 0
    assert "There is no GPU here" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_page_has_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def scores(folder: Path, *more: str, cpu: bool = False) -> dict[int, float]:
        given.append((more, cpu))
        return {0: 50.0}

    monkeypatch.setattr(gpu, "scores", scores)
    assert gpu.main(["--on", "cpu", "--seconds", "0.01", "--page", str(tmp_path)]) == 0
    assert [cpu for _, cpu in given] == [False, False, True]
    page = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith("| tiny 112 | fp32")]
    assert "50.00 here" in page
    assert float(row.split("|")[3]) < 1e-5  # the same device: the same features

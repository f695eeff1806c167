"""What the templates make of values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from peftcorr.console.numbers import Spread
from peftcorr.metrics.compare import Difference
from peftcorr.report.leaderboard import build_leaderboard
from peftcorr.report.site.differences import Paired
from peftcorr.report.site.generalisation import generalisation
from peftcorr.report.site.pages import Pages
from peftcorr.report.transfer import TransferMatrix, Transferred, TransferRow


@pytest.fixture
def pages() -> Pages:
    return Pages(version="1", style="style.css", runs=1, failed=())


def text(path: Path) -> str:
    """Of a page, without its tags."""
    return " ".join(re.sub(r"<[^>]*>", " ", path.read_text(encoding="utf-8")).split())


def test_both_sides_of_a_difference_name_their_model_and_nothing_is_minus_nothing(
    pages: Pages, make_record: Any, tmp_path: Path
) -> None:
    board = build_leaderboard([make_record("a"), make_record("f", "frozen", 20.0, 0)]).sections[0].boards[0]
    lora, frozen = board.rows
    found = Difference(
        split="synthetic/test", predictors=("argmax", "argmax"), aggregate="per_keypoint", alpha="0.1",
        scores=(50.0, 50.0), difference=-0.001, interval=(-0.004, 0.004), p_value=1.0,
    )  # fmt: skip
    paired = [Paired(frozen, lora, (("f",), ("a",)), found), Paired(lora, lora, (("a",), ("a",)), found)]
    pages.write(tmp_path / "page.html", "differences.html", boards={"t": paired}, most=1, next=1)
    shown = text(tmp_path / "page.html")
    assert "frozen tiny, 128 px lora tiny, 128 px, synthetic 50.00 50.00 +0.00 [+0.00, +0.00]" in shown
    assert "lora tiny, 128 px, synthetic lora tiny, 128 px, synthetic" in shown


def test_a_transfer_of_nothing_is_no_loss(pages: Pages, tmp_path: Path) -> None:
    cell = Transferred(Spread(50.0), -0.001, False, 1)
    matrix = TransferMatrix("tiny", ("farm/test",), (TransferRow("lora", "barn", (cell,)),))
    pages.write(tmp_path / "page.html", "transfer.html", matrices=[(matrix, generalisation(matrix))])
    assert text(tmp_path / "page.html").count("50.00 +0.00") == 2

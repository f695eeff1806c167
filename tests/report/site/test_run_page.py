"""How a run is made again, as its page says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peftcorr.report.site.pages import Pages
from peftcorr.report.site.run_page import run_page
from peftcorr.results.store import Store


@pytest.mark.parametrize("kind", ["strategy", "backbone", "dataset", "predictor"])
def test_a_plugins_file_is_in_the_command(store: Store, make_record: Any, kind: str) -> None:
    record = make_record("a", schema_version=2, ingredients={"weights": "x", f"plugin {kind} mine": "y"})
    page = run_page(record, "lora", store, False, None)
    assert page.command == "peftcorr run --recipe a.yaml --plugin FILE.py"
    assert page.needs == [f"FILE.py registers {kind} mine; a plugin that is installed needs no --plugin."]


def test_the_run_that_training_starts_from_has_to_be_there(
    store: Store, make_record: Any, tmp_path: Path
) -> None:
    record = make_record("b", recipe={"init_from": "0123456789abcdef"})
    page = run_page(record, "lora", store, False, None)
    [need] = page.needs
    assert "0123456789abcdef" in need
    assert "--output" in need
    Pages(version="1", style="", runs=1, failed=()).write(tmp_path / "b.html", "run.html", page=page)
    assert need in (tmp_path / "b.html").read_text(encoding="utf-8")


def test_most_runs_need_nothing_else(store: Store, make_record: Any) -> None:
    page = run_page(make_record("a", recipe={"init_from": None}), "lora", store, False, None)
    assert (page.command, page.needs) == ("peftcorr run --recipe a.yaml", [])

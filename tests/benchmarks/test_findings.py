"""Findings are JSON whose entries keep to a line while they fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.scripts import script


def test_entries_keep_to_a_line_and_nothing_is_changed(tmp_path: Path) -> None:
    content: dict[str, Any] = {
        "alpha": 0.1,
        "empty": [],
        "rows": [{"name": f"run {number}", "scores": [number / 3] * 5} for number in range(8)],
        "long": {f"key {number}": "x" * 50 for number in range(20)},
    }

    script("findings").write_json(tmp_path / "found.json", content)

    text = (tmp_path / "found.json").read_text(encoding="utf-8")
    assert json.loads(text) == content
    assert text.count("\n") == 2 + 2 + (2 + 8) + (2 + 20)
    assert sum('"name": "run 3", "scores": [1.0' in line for line in text.splitlines()) == 1

"""What a benchmark found, as JSON for machines whose changes a reader can still follow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from peftcorr.files import atomic_path

_LINE = 700  # characters


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON, whole or not at all; what fits on a line of 700 characters is one line.

    Raises:
        PeftCorrError: if it cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(lines(content) + "\n", encoding="utf-8", newline="\n")


def lines(content: Any, indent: str = "") -> str:
    """Return JSON in which a list or an object is broken into its entries only where it is too long for a line."""
    whole = json.dumps(content)
    if len(whole) <= _LINE or not isinstance(content, (dict, list)):
        return whole
    inner = f"{indent} "
    entries = (
        [f"{json.dumps(name)}: {lines(value, inner)}" for name, value in content.items()]
        if isinstance(content, dict)
        else [lines(value, inner) for value in content]
    )
    first, last = "{}" if isinstance(content, dict) else "[]"
    return f"{first}\n" + ",\n".join(inner + entry for entry in entries) + f"\n{indent}{last}"

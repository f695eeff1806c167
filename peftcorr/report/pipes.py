"""Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Return a table; the columns numbered in `left` are aligned to the left, all others to the right."""
    rule = ["---" if index in left else "---:" for index in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def escaped(text: str) -> str:
    """Escape what Markdown or HTML would take for markup; underscores inside words are safe and stay."""
    escaped = text.replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
    for character in "|`*[]":
        escaped = escaped.replace(character, f"\\{character}")
    return escaped

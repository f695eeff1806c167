"""Text of others in Markdown, which stays text; and tables."""

from __future__ import annotations

import re
from collections.abc import Sequence

from peftcorr.errors import visible


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Return a table; the columns numbered in `left` are aligned to the left, all others to the right."""
    rule = ["---" if index in left else "---:" for index in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def escaped(text: str) -> str:
    """Escape what Markdown, HTML or GitHub's mathematics would take for markup, and write control characters out.

    Underscores inside words are safe and stay.
    """
    text = visible(re.sub("[\\t\\r\\n]+", " ", text))
    text = text.replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"[|`*\[\]~$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)

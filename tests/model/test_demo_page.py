"""What others called something is text in every part of the demo's page."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest

from peftcorr.data.given import picture
from peftcorr.model.demo_page import Drawing, Found, status
from tests.hostile import HOSTILE, assert_calm

SHOWN = picture(np.zeros((6, 8, 3), np.uint8))
FOUND = Found((3.0, 4.0), 0.5, np.zeros((6, 8), np.float32), 0.01)


@pytest.mark.parametrize(
    "html",
    [
        Drawing().found(HOSTILE, SHOWN, FOUND),
        Drawing().picture(SHOWN, HOSTILE, (3.0, 4.0)),
        Drawing().picture(None, HOSTILE),
        status(HOSTILE),
    ],
)
def test_a_hostile_name_is_text(html: str) -> None:
    assert_calm(html)
    read = Read()
    read.feed(html)
    assert read.tags.isdisjoint({"script", "b", "a", "code"})
    for name, value in read.attributes:
        assert not name.startswith("on")
        assert_calm(value or "")
    assert read.sources <= {"data"}, "no picture but our own"


class Read(HTMLParser):
    """Tags, attributes, and schemes of pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.sources: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        self.sources |= {str(value).partition(":")[0] for name, value in attrs if name == "src"}

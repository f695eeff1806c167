"""A page of matches: text of others stays text, and a browser is told to load nothing but its pictures."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

from peftcorr.report.match_page import Drawn, Part, page, summary
from peftcorr.report.matches import Keypoint, Pair
from peftcorr.report.side_by_side import Mark
from tests.hostile import HOSTILE, assert_calm

NAN = float("nan")


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def read(document: str) -> Elements:
    found = Elements()
    found.feed(document)
    return found


def pair(name: str) -> Pair:
    keypoints = (
        Keypoint(name, Mark((0, 0), (5, 5), "wrong", (50, 50), (10, 10)), 0.634, 0.71),
        Keypoint("b", Mark((0, 0), (5, 5), "right", (5, 5), (10, 10)), 0.0, NAN),
        Keypoint("c", Mark((0, 0), (5, 5), "hidden"), NAN, NAN),
    )
    return Pair(name, name, name, name, keypoints)


def made(name: str, runs: int = 1) -> str:
    drawn = Drawn(
        "a.png", tuple((f"{name}{number}", pair(name)) for number in range(runs)), "a-similarity.png"
    )
    return page(name, [(name, name)], [Part(name, name, (drawn,))], "overview.png")


def test_hostile_names_stay_text() -> None:
    document = made(HOSTILE, 2)
    assert_calm(document)
    found = read(document)
    assert {tag for tag, _ in found.found} == {
        "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "table", "tr", "th", "td", "caption",
        "figure", "figcaption", "strong", "br", "span", "img", "details", "summary",
    }  # fmt: skip
    attributes = {name for _, given in found.found for name in given}
    assert attributes == {"lang", "charset", "http-equiv", "content", "name", "scope", "class", "src", "alt"}
    assert "<script>c</script>" in found.text


def test_the_policy_allows_the_pictures_and_its_own_style_alone() -> None:
    document = made("cat")
    found = read(document)
    [policy] = [given["content"] for _, given in found.found if "http-equiv" in given]
    [style] = re.findall("<style>(.*?)</style>", document, re.DOTALL)
    own = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src 'self' file:; style-src 'sha256-{own}'; base-uri 'none'; form-action 'none'"
    )
    assert "http:" not in document
    assert "https:" not in document


def test_each_picture_says_what_it_shows() -> None:
    found = read(made("cat"))
    alts = {given["src"]: given["alt"] or "" for tag, given in found.found if tag == "img"}
    assert alts["a.png"] == "cat: cat beside cat. 1 of 2 right, 1 wrong, 1 hidden in the target."
    assert "Similarity" in alts["a-similarity.png"]
    assert "How the run comes to a point" in alts["overview.png"]


def test_the_numbers_are_there_too() -> None:
    text = " ".join(read(made("cat")).text.split())
    for piece in ("0.634", "0.710", "left taken for right", "ring round it"):
        assert piece in text
    assert summary(pair("cat")) == "1 of 2 right, 1 wrong, 1 hidden in the target"
    assert "nan" not in text

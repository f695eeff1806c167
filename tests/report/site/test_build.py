"""What is written, without a browser: links, policy, texts, and what stands in the place of what."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from peftcorr.errors import PeftCorrError
from peftcorr.report.every_row import every_row
from peftcorr.report.leaderboard import build_leaderboard
from peftcorr.report.site.build import build_site
from peftcorr.report.site.pages import POLICY
from peftcorr.results.store import Store
from tests.hostile import HOSTILE, assert_calm
from tests.metrics.made import drawn, written
from tests.report.site.conftest import FROZEN, LORA

ELEMENTS = {
    "a", "body", "br", "button", "code", "details", "div", "em", "fieldset", "footer", "form", "h1", "h2", "h3", "h4",
    "head", "header", "html", "input", "label", "legend", "li", "link", "main", "meta", "nav", "noscript", "option",
    "output", "p", "pre", "script", "section", "select", "small", "span", "strong", "summary", "table", "tbody", "td",
    "th", "thead", "title", "tr", "ul",
}  # fmt: skip


class Page(HTMLParser):
    """Elements with their attributes, and the text of a page outside of its scripts."""

    def __init__(self, path: Path):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += "" if self._inside[-1:] == ["script"] else data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def test_every_run_has_a_page_and_every_link_leads_somewhere(site: Path, runs: Store) -> None:
    ids = {path.stem for path in (runs.root / "records").iterdir()}
    assert {path.stem for path in (site / "runs").glob("*.html")} == ids
    for path in pages(site):
        for _, attributes in Page(path).elements:
            for name in ("href", "src"):
                if address := attributes.get(name):
                    assert urlsplit(address)[:2] == ("", ""), "nothing from elsewhere"
                    if not address.startswith("#"):
                        assert (path.parent / unquote(address)).is_file(), (path, address)


def test_a_page_has_a_strict_policy_and_nothing_that_it_refuses(site: Path) -> None:
    assert "unsafe" not in POLICY
    assert "http" not in POLICY
    for path in pages(site):
        page = Page(path)
        [policy] = [one for one in page.all("meta") if one.get("http-equiv")]
        assert (policy["http-equiv"], policy["content"]) == ("Content-Security-Policy", POLICY)
        assert page.elements[2][0] == "meta", "before anything is loaded"
        assert "http-equiv" in page.elements[3][1]
        assert [
            one for one in page.all("script") if "src" not in one and one.get("type") != "application/json"
        ] == []
        assert page.all("style") == []
        attributes = {name for _, found in page.elements for name in found}
        assert [name for name in attributes if name == "style" or name.startswith("on")] == []


def test_a_hostile_name_is_text(site: Path) -> None:
    assert {name for path in pages(site) for name, _ in Page(path).elements} <= ELEMENTS
    for path in pages(site):
        page = Page(path)
        assert_calm(page.text)
        assert [one for one in page.all("script") if one.get("src") in (None, "c")] == [
            {"type": "application/json", "id": one["id"]} for one in page.all("script") if "src" not in one
        ]
    assert "<img src=x onerror=alert(1)>" in Page(site / "runs" / "hostile-1.html").text
    assert "<img src=x onerror=alert(1)>" in Page(site / "index.html").text, "of the run that failed"
    for path in site.glob("data/*.js"):
        assert_calm(path.read_text(encoding="utf-8"))


def board(site: Path, number: int = 0) -> dict[str, Any]:
    text = (site / "data" / f"board-{number}.js").read_text(encoding="utf-8")
    found = re.fullmatch(rf"peftcorr\.boards\[{number}\] = JSON\.parse\((.*)\);\n", text, re.DOTALL)
    assert found is not None
    read: dict[str, Any] = json.loads(json.loads(found[1]))
    return read


def listed(site: Path) -> list[dict[str, str]]:
    found = re.search(r'id="boards">(.*?)</script>', (site / "index.html").read_text(encoding="utf-8"))
    assert found is not None
    boards: list[dict[str, str]] = json.loads(found[1])["boards"]
    return boards


def test_the_data_are_the_rows(site: Path, runs: Store) -> None:
    leaderboard = build_leaderboard(runs.records())
    assert [one["title"] for one in listed(site)] == [
        "barn/test, argmax",
        "barn/test, window",
        "farm/test, argmax",
    ]
    assert (site / "leaderboard.csv").read_text(encoding="utf-8") == every_row(leaderboard)
    farm = board(site, 2)
    rows = next(section for section in leaderboard.sections if section.title == "farm/test").boards[0].rows
    assert [row["runs"] for row in farm["rows"]] == [list(row.run_ids) for row in rows]
    assert (farm["alphas"], farm["ranked"], farm["categories"]) == (
        ["0.05", "0.1", "0.2"],
        "0.1",
        ["cat", "dog"],
    )
    [lora] = [row for row in farm["rows"] if row["runs"] == [LORA]]
    assert lora["pck"] == [[30, None, None, None], [60, None, 58, 62], [90, None, None, None]]
    assert (lora["gain"], lora["params"], lora["bytes"], lora["categories"]) == (40, 4096, 4 * 4096, [60, 60])
    assert (lora["memory"], lora["seconds"], lora["backbone"]) == (1_234_000_000, 90, "tiny, 128 px")


def test_a_run_that_left_predictions_is_broken_down_and_compared(site: Path) -> None:
    page = Page(site / "runs" / f"{LORA}.html").text
    for factor in ("by viewpoint", "by truncation", "by number of keypoints"):
        assert factor in page
    assert "by viewpoint" not in Page(site / "runs" / "ssf-1.html").text, "it left none"
    assert "by category" in Page(site / "runs" / "ssf-1.html").text
    found = re.search(
        r'id="curves">(.*?)</script>', (site / "runs" / f"{LORA}.html").read_text(encoding="utf-8")
    )
    assert found is not None
    curves = json.loads(found[1])
    assert curves["validation"] == [[50, 12.5], [100, 25], [150, 37.5]]
    assert curves["losses"] == [0.18, 0.09, 0.06]
    assert [(title, len(points)) for title, points in curves["thresholds"]] == [
        ("farm/test, argmax", 30), ("barn/test, argmax", 3), ("barn/test, window", 3),
    ]  # fmt: skip
    differences = Page(site / "differences.html")
    assert [one["href"] for one in differences.all("a") if "runs/" in (one.get("href") or "")] == [
        f"runs/{FROZEN}.html", f"runs/{LORA}.html",
    ]  # fmt: skip
    assert re.search(
        r"[+-]\d+\.\d\d\s+\[[+-]\d+\.\d\d, [+-]\d+\.\d\d\]\s+[01]\.\d{4}\s+[01]\.\d{4}", differences.text
    )


def test_predictions_that_were_changed_are_not_shown(one: Store, tmp_path: Path) -> None:
    path = written(drawn(0, {"cat": 4}, dataset="synthetic"), one.root, LORA)
    build_site(one.root, tmp_path / "site")
    assert "by truncation" in Page(tmp_path / "site" / "runs" / f"{LORA}.html").text
    path.write_bytes(path.read_bytes()[:-9])
    build_site(one.root, tmp_path / "site")
    assert "by truncation" not in Page(tmp_path / "site" / "runs" / f"{LORA}.html").text
    assert "left their predictions here" in Page(tmp_path / "site" / "differences.html").text


def test_what_one_training_set_is_worth_elsewhere(site: Path) -> None:
    _, _, text = " ".join(Page(site / "transfer.html").text.split()).partition(
        "The best of each training set "
    )
    best, _, everything = text.partition(" Every strategy ")
    assert best.endswith("frozen 12.00frozen 20.00frozen farm 12.00 +0.00lora 60.00 +40.00lora")
    assert "ssffarm -41.00 +21.00" in everything


def test_the_command_runs_the_recipe_of_the_record(site: Path, runs: Store) -> None:
    for run_id in (LORA, "hostile-1"):
        record = runs.read(run_id)
        assert record is not None
        assert yaml.safe_load((site / "runs" / f"{run_id}.yaml").read_text(encoding="utf-8")) == record.recipe
        text = Page(site / "runs" / f"{run_id}.html").text
        [line] = [line for line in text.splitlines() if line.startswith("peftcorr run")]
        command = shlex.split(line)
        assert command[:4] == ["peftcorr", "run", "--recipe", f"{run_id}.yaml"]
        assert ("--weights" in command) is (run_id == "hostile-1")


def test_the_same_records_give_the_same_bytes(one: Store, tmp_path: Path) -> None:
    site = tmp_path / "site"
    build_site(one.root, site)
    before = {path.relative_to(site): path.read_bytes() for path in site.rglob("*") if path.is_file()}
    (site / "stale.html").write_text("of an earlier site")
    build_site(one.root, site)
    assert {path.relative_to(site): path.read_bytes() for path in site.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == [], (
        "nothing is left beside it"
    )


def test_what_is_no_site_stays(one: Store, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "index.html").write_text("<!doctype html>mine")
    with pytest.raises(PeftCorrError, match="did not write: give -o a new folder"):
        build_site(one.root, mine)
    assert [path.read_text() for path in mine.iterdir()] == ["<!doctype html>mine"]
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(PeftCorrError, match="did not write"):
        build_site(one.root, file)


def test_a_site_stays_when_the_next_cannot_be_written(
    one: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    build_site(one.root, site)
    before = (site / "index.html").read_bytes()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "plotly" else find(name))
    with pytest.raises(PeftCorrError, match=r"plotly is not installed: .* pip install 'peftcorr\[report\]'"):
        build_site(one.root, site)
    assert (site / "index.html").read_bytes() == before


def test_drawn_matches_come_with_their_run(one: Store, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    shown.mkdir()
    for name in ("index.html", "pair-1.png", "notes.txt"):
        (shown / name).write_bytes(name.encode())
    build_site(one.root, tmp_path / "site", {LORA: shown})
    folder = tmp_path / "site" / "runs" / f"{LORA}-matches"
    assert {path.name for path in folder.iterdir()} == {"index.html", "pair-1.png"}
    addresses = [one.get("href") for one in Page(tmp_path / "site" / "runs" / f"{LORA}.html").all("a")]
    assert f"{LORA}-matches/index.html" in addresses
    with pytest.raises(PeftCorrError, match="give a folder that peftcorr show wrote"):
        build_site(one.root, tmp_path / "site", {LORA: tmp_path / "nothing"})


def test_without_a_scored_run_the_page_says_so(store: Store, make_record: Any, tmp_path: Path) -> None:
    with pytest.raises(PeftCorrError, match="There is no folder"):
        build_site(store.root, tmp_path / "site")
    store.write(make_record("a", status="failed", error=HOSTILE, scores={"x": {}}))
    build_site(store.root, tmp_path / "site")
    assert "No run has been scored yet." in Page(tmp_path / "site" / "index.html").text

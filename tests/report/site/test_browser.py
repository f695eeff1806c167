"""The pages in a real Chromium, opened from disk: what a reader does, and that nothing was refused or went wrong."""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browsing import becomes, browsed, unnamed
from tests.report.site.conftest import LORA

pytestmark = pytest.mark.browser

ROWS = "#table-place tbody tr"


@pytest.fixture
def page(site: Path) -> Iterator[Any]:
    """The first page, with the board that has most rows."""
    with browsed((site / "index.html").as_uri()) as opened:
        opened.select_option("#board", label="farm/test, argmax")
        until(opened, "document.querySelector('#count').textContent == '9 of 9 rows'")
        yield opened


def until(page: Any, expression: str) -> None:
    """Wait until an expression is true; what Playwright waits with is refused by the page's policy."""
    deadline = time.monotonic() + 60
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(50)


def column(page: Any, title: str) -> list[str]:
    """Cells of a column of the table, from the top."""
    titles = [text.strip() for text in page.locator("#table-place thead th").all_inner_texts()]
    cells = page.locator(f"{ROWS} > td:nth-child({titles.index(title) + 1})").all_inner_texts()
    return [text.strip() for text in cells]


def parameters(page: Any) -> list[int]:
    return [int(cell.replace(",", "")) for cell in column(page, "Parameters")]


def slide(page: Any, name: str, keys: str, times: int = 1) -> None:
    page.focus(f"#at-most-{name}")
    for _ in range(times):
        page.keyboard.press(keys)


def test_it_sorts(page: Any) -> None:
    scores = [float(cell.split()[0]) for cell in column(page, "PCK@0.1")]
    assert scores == sorted(scores, reverse=True)
    header = page.get_by_role("button", name=re.compile("^Parameters"))
    header.focus()
    page.keyboard.press("Enter")
    ordered = sorted(parameters(page))
    becomes(page, lambda: parameters(page), ordered[::-1])
    page.keyboard.press("Enter")
    becomes(page, lambda: parameters(page), ordered)
    assert column(page, "PCK@0.1")[0] == "20.00 [18.0, 22.0]"


def test_it_filters_by_names_with_the_keyboard_alone(page: Any) -> None:
    page.focus("#choice-backbone summary")
    page.keyboard.press("Enter")
    page.get_by_role("checkbox", name="large, 128 px").focus()
    page.keyboard.press("Space")
    becomes(page, lambda: page.inner_text("#count"), "8 of 9 rows")
    assert "large, 128 px" not in column(page, "Backbone")
    page.keyboard.press("Space")
    page.click("#choice-method summary")
    page.click("#choice-method button")
    becomes(page, lambda: page.inner_text("#count"), "0 of 9 rows")
    page.get_by_role("checkbox", name="lora").check()
    becomes(page, lambda: set(column(page, "Backbone")), {"tiny, 128 px", "large, 128 px"})
    becomes(page, lambda: page.inner_text("#choice-method .said"), "lora")
    page.click("#reset")
    becomes(page, lambda: page.inner_text("#count"), "9 of 9 rows")


@pytest.mark.parametrize(
    ("name", "title", "said"),
    [("params", "Parameters", "4,096"), ("seconds", "Time", "1 min 30 s"), ("memory", "Memory", "1.23 GB")],
)
def test_a_budget_keeps_what_fits_into_it(page: Any, name: str, title: str, said: str) -> None:
    slide(page, name, "Home")
    becomes(page, lambda: len(column(page, title)) in (1, 2), True)
    while page.inner_text(f"#said-{name}") != said:
        page.keyboard.press("ArrowRight")
    becomes(page, lambda: said in column(page, title), True)
    if name == "params":
        assert max(parameters(page)) == 4096
    assert page.get_attribute(f"#at-most-{name}", "aria-valuetext") == said
    page.keyboard.press("End")
    becomes(page, lambda: page.inner_text(f"#said-{name}"), "no limit")
    becomes(page, lambda: page.inner_text("#count"), "9 of 9 rows")


def test_it_searches_and_a_hostile_name_is_text(page: Any) -> None:
    page.get_by_role("searchbox", name="Search").fill("onerror")
    becomes(page, lambda: page.inner_text("#count"), "1 of 9 rows")
    [name] = column(page, "Strategy")
    assert "<img src=x onerror=alert(1)> <script>c</script>" in name
    assert page.locator("#table-place img, #table-place script").count() == 0
    page.locator(f"{ROWS} a").click()
    page.wait_for_selector("h1")
    assert "<img src=x onerror=alert(1)>" in page.inner_text("h1")
    assert page.locator("img").count() == 0


def test_the_front_is_drawn_where_its_points_are_and_the_budget_is_marked(page: Any) -> None:
    page.locator("#pareto").scroll_into_view_if_needed()
    page.wait_for_selector("#pareto .scatterlayer .trace")
    front = "(([line, ...rest]) => [line.x, line.y, rest.length])(document.getElementById('pareto').data)"
    x, y, traces = page.evaluate(front)
    assert y == [20, 35, 40, 60, 70]
    assert x == sorted(x)
    assert traces == 8, "a trace a strategy"
    assert page.evaluate("document.getElementById('pareto').layout.shapes") == []
    slide(page, "params", "Home")
    slide(page, "params", "ArrowRight", 3)
    becomes(page, lambda: page.inner_text("#said-params"), "4,096")
    page.locator("#pareto").scroll_into_view_if_needed()  # what is out of sight is not drawn
    until(page, "document.getElementById('pareto').data[0].x.length == 4")
    x, y, _ = page.evaluate(front)
    assert y == [20, 35, 40, 60]
    [shape] = page.evaluate("document.getElementById('pareto').layout.shapes")
    assert shape["x0"] == shape["x1"] == x[-1]


def test_a_point_tells_its_row_and_leads_to_its_run(page: Any) -> None:
    page.locator("#pareto").scroll_into_view_if_needed()
    page.wait_for_selector("#pareto .scatterlayer .trace")
    drawn = page.evaluate("document.getElementById('pareto').data.flatMap((one) => one.text ?? [])")
    [hostile] = [text for text in drawn if "onerror" in text]
    assert "<br>&lt;img src=x onerror=alert(1)&gt;, 128 px<br>" in hostile
    marker = page.locator("#pareto .scatterlayer .trace .point").last
    marker.hover(force=True)
    page.wait_for_selector("#pareto .hoverlayer .hovertext")
    assert "PCK@0.1" in page.text_content("#pareto .hoverlayer")
    box = marker.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("h1:has-text(' on ')")


def test_thresholds_and_categories_follow_the_table(page: Any) -> None:
    page.get_by_role("searchbox", name="Search").fill("large")
    becomes(page, lambda: page.inner_text("#count"), "1 of 9 rows")
    page.locator("#thresholds").scroll_into_view_if_needed()
    page.wait_for_selector("#thresholds .scatterlayer .trace")
    [line] = page.evaluate("document.getElementById('thresholds').data.map((one) => [one.x, one.y])")
    assert line == [[0.05, 0.1, 0.2], [35, 70, 100]]
    page.locator("#categories").scroll_into_view_if_needed()
    page.wait_for_selector("#categories table")
    cells = page.locator("#categories th, #categories td").all_inner_texts()
    assert cells == ["PCK@0.1", "cat", "dog", "lora (large, 128 px; farm)", "70.0", "70.0"]


def test_rows_that_are_shown_are_downloaded(page: Any, tmp_path: Path) -> None:
    page.get_by_role("searchbox", name="Search").fill("lora")
    becomes(page, lambda: page.inner_text("#count"), "2 of 9 rows")
    with page.expect_download() as waiting:
        page.click("#download")
    waiting.value.save_as(tmp_path / "shown.csv")
    with (tmp_path / "shown.csv").open(newline="") as stream:
        found = list(csv.DictReader(stream))
    assert [(row["backbone"], row["per_keypoint@0.1"], row["runs"]) for row in found] == [
        ("large, 128 px", "70", "large-1"), ("tiny, 128 px", "60", LORA),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["index.html", "transfer.html", "differences.html", f"runs/{LORA}.html"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_page_fits_and_all_of_it_has_names_and_is_reached_by_keyboard(
    site: Path, name: str, width: int
) -> None:
    with browsed((site / name).as_uri(), width) as page:
        for chart in page.locator(".chart").all():
            chart.scroll_into_view_if_needed()
            page.wait_for_selector(f"#{chart.get_attribute('id')} .main-svg")
        if name == "index.html":
            page.wait_for_selector(f"{ROWS} a")
        assert unnamed(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        controls = "a[href], button, input, select, summary, [tabindex='0']"
        seen = page.evaluate(
            f"[...document.querySelectorAll({controls!r})]"
            ".filter((one) => one.checkVisibility() && !one.disabled && one.tabIndex >= 0).length"
        )
        reached = set()
        page.evaluate("window.scrollTo(0, 0); document.activeElement.blur()")
        for _ in range(seen + 5):
            page.keyboard.press("Tab")
            reached.add(
                page.evaluate(f"[...document.querySelectorAll({controls!r})].indexOf(document.activeElement)")
            )
        assert len(reached - {-1}) == seen


def test_the_curves_of_a_run(site: Path) -> None:
    with browsed((site / "runs" / f"{LORA}.html").as_uri()) as page:
        page.wait_for_selector("#thresholds .main-svg")
        validation, loss = page.evaluate(
            "document.getElementById('validation').data.map((one) => [one.x, one.y])"
        )
        assert validation == [[50, 100, 150], [12.5, 25, 37.5]]
        assert loss == [[50, 100, 150], [0.18, 0.09, 0.06]]
        assert page.locator("#thresholds .scatterlayer .trace").count() == 4, "one with its interval"

"""A page in Debian's Chromium, and what must hold of every page."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

CONTROLS = {
    "button", "checkbox", "combobox", "image", "link", "listbox", "option", "radio", "searchbox", "slider",
    "spinbutton", "switch", "tab", "textbox",
}  # fmt: skip


@contextmanager
def browsed(address: str, width: int = 1280) -> Iterator[Any]:
    """Open a page; afterwards nothing of it may have come from another host, or have said an error.

    What a page's policy refuses is an error too.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    errors: list[str] = []
    hosts: set[str] = set()
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.set_default_timeout(90_000)
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: errors.append(f"a dialog: {dialog.message}"))
        page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname or ""))
        page.goto(address)
        yield page
        browser.close()
    assert errors == [], errors
    assert hosts <= {"", urlsplit(address).hostname}


def unnamed(page: Any) -> list[dict[str, Any]]:
    """Controls and pictures that a screen reader has no name for."""
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    return [
        node
        for node in nodes
        if not node["ignored"]
        and node["role"]["value"].lower() in CONTROLS
        and not node.get("name", {}).get("value", "").strip()
    ]


def becomes(page: Any, found: Callable[[], object], expected: object) -> None:
    """Wait until what is found is what is expected: a page follows its controls a moment later."""
    deadline = time.monotonic() + 60
    while found() != expected:
        assert time.monotonic() < deadline, found()
        page.wait_for_timeout(50)

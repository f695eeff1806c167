"""The demo in a browser: what it shows is what the models say."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from peftcorr.cli import make_parser
from peftcorr.commands.demo import _models
from peftcorr.data.layouts.spair import SpairFolder
from peftcorr.model.matching import Model
from tests.browsing import becomes, browsed, unnamed
from tests.commanding import PLUGIN, PROJECT, Commands

pytestmark = pytest.mark.browser


@dataclass
class Served:
    """A demo under way."""

    address: str
    models: dict[str, Model]
    folder: Path
    first: tuple[Path, Path]  # pictures of the first pair


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def demo(commands: Commands) -> Iterator[Served]:
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'peftcorr[demo]'")
    from peftcorr.model.demo import Demo, page, served

    assert commands.run("--strategy", "lora") == 0
    places = ["--output", str(commands.output), "--weights", str(commands.weights)]
    found = _models(make_parser().parse_args(["demo", commands.record().run_id, *places]))
    assert [name.partition(" (")[0] for name in found] == ["lora on small, seed 0", "small, as it comes"]
    models = dict(zip(("lora <b>", "plain"), found.values(), strict=True))
    pairs = SpairFolder(SpairFolder.Config(), commands.photographs, commands.folder / "cache").load("test")
    row = pairs.table[0]
    first = pairs.image_root / row["source_image"], pairs.image_root / row["target_image"]
    with served(page(Demo(models, pairs)), free_port()) as address:
        yield Served(address, models, commands.folder, first)


def numbers(page: Any, side: str) -> list[float]:
    """x, y and similarity that stand below a model."""
    values = page.locator(f"#found-{side} data").evaluate_all("all => all.map(one => one.value)")
    return [float(value) for value in values]


def asked(page: Any) -> tuple[float, float]:
    return float(page.locator("#x input").input_value()), float(page.locator("#y input").input_value())


def said(page: Any, text: str) -> None:
    page.locator("#status p", has_text=text).wait_for()


def as_found(model: Model, pictures: tuple[Path, Path], point: tuple[float, float]) -> list[float]:
    points, similarity = model.match(*pictures, [point])
    return [*points[0].tolist(), float(similarity[0])]


@pytest.mark.parametrize("width", [1280, 390])
def test_a_click_shows_what_each_model_says_of_that_point(demo: Served, width: int) -> None:
    with browsed(demo.address, width) as page:
        picture = page.locator("#source .picture")
        box = picture.bounding_box()
        page.mouse.move(box["x"], box["y"])
        picture.click(position={"x": box["width"] * 0.75, "y": box["height"] * 0.5})
        said(page, "Matched")
        x, y = asked(page)
        with Image.open(demo.first[0]) as source:
            wide, high = source.size
        assert abs(x - (wide * 0.75 - 0.5)) < 0.1 + wide / box["width"]
        assert abs(y - (high * 0.5 - 0.5)) < 0.1 + high / box["height"]
        for side, model in zip(("left", "right"), demo.models.values(), strict=True):
            becomes(page, partial(numbers, page, side), as_found(model, demo.first, (x, y)))
            assert re.search(r"Time\s*[\d,]+ ms", page.locator(f"#found-{side}").inner_text())
        assert numbers(page, "left") != numbers(page, "right")
        heat = page.locator("#found-left img.map")
        assert heat.evaluate("one => one.naturalWidth") > 0
        scroll = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert scroll[0] <= scroll[1], "the page is wider than the screen"
        assert unnamed(page) == []
        if (folder := os.environ.get("PEFTCORR_SCREENSHOTS")) is not None:
            page.screenshot(path=Path(folder) / f"demo-{width}.png", full_page=True)


def test_all_of_it_goes_without_a_mouse(demo: Served) -> None:
    with browsed(demo.address) as page:
        page.get_by_label("x of the point").fill("3")
        page.get_by_label("y of the point").fill("4")
        page.keyboard.press("Tab")
        page.get_by_role("button", name="Match", exact=True).focus()
        page.keyboard.press("Enter")
        said(page, "Matched x 3.0, y 4.0")
        becomes(page, lambda: numbers(page, "right"), as_found(demo.models["plain"], demo.first, (3, 4)))
        page.get_by_label("x of the point").fill("5000")
        page.keyboard.press("Enter")
        said(page, "outside of its image")
        becomes(page, lambda: numbers(page, "left"), [])


def test_pictures_of_ones_own(demo: Served) -> None:
    own = demo.folder / "own.png"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 64, 3), dtype=np.uint8)).save(own)
    broken = demo.folder / "broken.jpg"
    broken.write_bytes(b"no picture")
    with browsed(demo.address) as page:
        files = page.locator("input[type=file]")
        files.nth(0).set_input_files(own)
        page.get_by_role("img", name="Source picture, 64 by 40 pixels").wait_for()
        page.get_by_label("x of the point").fill("10")
        page.get_by_label("y of the point").fill("20")
        page.keyboard.press("Enter")
        said(page, "Matched x 10.0, y 20.0")
        becomes(
            page,
            lambda: numbers(page, "left"),
            as_found(demo.models["lora <b>"], (own, demo.first[1]), (10, 20)),
        )
        files.nth(1).set_input_files(broken)
        said(page, "broken.jpg")
        assert page.get_by_role("img", name="Source picture, 64 by 40 pixels").count() == 1


def test_other_pairs_and_models_are_chosen(demo: Served) -> None:
    with browsed(demo.address) as page:
        before = page.locator("#source img").get_attribute("src")
        page.get_by_label("Pair of the dataset").click()
        page.get_by_role("option").nth(5).click()
        page.wait_for_function("src => document.querySelector('#source img').src !== src", arg=before)
        page.get_by_label("x of the point").fill("3")
        page.get_by_label("y of the point").fill("4")
        page.keyboard.press("Enter")
        said(page, "Matched")
        assert numbers(page, "left") != numbers(page, "right")
        page.get_by_label("Model on the right").click()
        page.get_by_role("option", name="lora <b>").click()
        page.locator("#found-right dd", has_text="lora <b>").wait_for()
        becomes(page, lambda: numbers(page, "left") == numbers(page, "right"), True)


def test_the_command_serves_this_machine_until_it_is_stopped(commands: Commands) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'peftcorr[demo]'")
    port = free_port()
    given = (
        "--dataset",
        "pairs",
        "--data-root",
        str(commands.photographs),
        "--weights",
        str(commands.weights),
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "peftcorr.cli", "demo", "--plugin", str(PLUGIN), "--backbone", "small", *given,
         "--port", str(port)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT, env=commands.environment(),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("Demo: "))
        assert f"http://127.0.0.1:{port}" in line
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
            assert b"peftcorr demo" in answer.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()

"""Whether the site of ``peftcorr report`` can be used with thousands of runs: ``python benchmarks/report_site.py``.

Writes made-up records, builds their site, opens it from disk in Chromium and measures until when the first page is
painted, when its table stands, and how long a filter, a search, an order and another board take until the next frame is
painted. Prints the seconds and writes them to ``leaderboard/report.md`` and ``leaderboard/report.json``. Needs
``peftcorr[report]``, Playwright and a Chromium.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from findings import write_json
from timing import page
from timing.settings import PROJECT

from peftcorr.console import numbers
from peftcorr.report.site.build import Site, build_site

RUNS = 5_000
PAINT, FILTER = 2.0, 0.2  # seconds that were asked for
TEMPLATE = PROJECT / "leaderboard" / "records" / "1b0ff43fdf03c163.json"
SPLITS = ("animal-pairs/test", "synthetic/test")
STRATEGIES = (
    "adapter", "adaptformer", "bitfit", "dora", "frozen", "full", "head", "ia3", "last_k", "lora", "norm", "ssf",
    "vera", "vpt",
)  # fmt: skip
BACKBONES = ("dinov2_vits14", "dinov2_vitb14", "dinov3_vitb16", "sam_vit_b", "tiny")
# How a step is timed: until the frame after the one that it is painted in.
PAINTED = """async ([act, value]) => {
  const painted = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  await painted();
  const begun = performance.now();
  const enter = (element, kind) => element.dispatchEvent(new Event(kind, {bubbles: true}));
  const find = (query) => document.querySelector(query);
  if (act === "slider") { find("#at-most-params").value = value; enter(find("#at-most-params"), "input"); }
  if (act === "choice") { find("#method-" + value).click(); }
  if (act === "search") { find("input[type=search]").value = value; enter(find("input[type=search]"), "input"); }
  if (act === "order") { find("th:nth-child(" + value + ") .dt-column-order").click(); }
  await painted();
  return performance.now() - begun;
}"""


def main() -> None:
    """Write the records, build the site, measure it and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=RUNS, metavar="N", help=f"default: {RUNS:,}")
    parser.add_argument("--again", type=int, default=5, metavar="N", help="openings (default: 5)")
    parser.add_argument("--chromium", default=shutil.which("chromium"), metavar="PATH", help="the browser")
    parser.add_argument("--output", type=Path, default=PROJECT / "leaderboard", metavar="DIR")
    parsed = parser.parse_args()
    content: dict[str, Any] = {"schema_version": 1, "machine": page.machine(), "runs": parsed.runs}
    with tempfile.TemporaryDirectory(prefix="peftcorr-report-") as work:
        begun = time.perf_counter()
        own = build_site(PROJECT / "leaderboard", Path(work) / "own")
        content["own"] = _built(own, begun)
        write_records(Path(work) / "many", parsed.runs)
        begun = time.perf_counter()
        site = build_site(Path(work) / "many", Path(work) / "site")
        content["many"] = _built(site, begun)
        content["opened"] = measured(site.page, parsed.chromium, parsed.again)
    text = _page(content)
    print(text)
    write_json(parsed.output / "report.json", content)
    (parsed.output / "report.md").write_text(text + "\n", encoding="utf-8")


def write_records(root: Path, count: int) -> None:
    """Write records of runs that nobody made, each of a configuration of its own."""
    draw = random.Random(0)
    template = json.loads(TEMPLATE.read_text(encoding="utf-8"))
    (root / "records").mkdir(parents=True)
    for number in range(count):
        strategy, backbone = draw.choice(STRATEGIES), draw.choice(BACKBONES)
        skill = draw.uniform(0.1, 1.0)
        document = json.loads(json.dumps(template))
        document |= {
            "run_id": f"run-{number:05d}",
            "strategy": strategy,
            "backbone": backbone,
            "weights_id": backbone,
        }
        document["official_weights"] = True
        document["recipe"]["strategy"] = {"name": strategy, "option": number}
        document["recipe"]["backbone"]["name"] = backbone
        document["trainable_parameters"] = 0 if strategy == "frozen" else int(10 ** draw.uniform(3, 7.5))
        document["adapter_bytes"] = 4 * document["trainable_parameters"]
        document["cost"]["train_seconds"] = draw.uniform(10, 5000)
        document["cost"]["peak_memory_bytes"] = int(draw.uniform(1e9, 4e9))
        document["scores"] = {split: _scaled(template["scores"][split], skill) for split in SPLITS}
        path = root / "records" / f"{document['run_id']}.json"
        path.write_text(json.dumps(document), encoding="utf-8")


def _scaled(scores: Any, factor: float) -> Any:
    """Percentages times a factor; counts as they are."""
    if isinstance(scores, dict):
        return {name: _scaled(value, factor) for name, value in scores.items()}
    if isinstance(scores, list):
        return [_scaled(value, factor) for value in scores]
    return scores * factor if isinstance(scores, float) else scores


def _built(site: Site, begun: float) -> dict[str, Any]:
    return {"seconds": time.perf_counter() - begun, "bytes": site.size, "runs": site.runs}


def measured(site: Path, chromium: str, again: int) -> dict[str, list[float]]:
    """Open a site some times; seconds of each opening and of what a reader does then."""
    from playwright.sync_api import sync_playwright

    found: dict[str, list[float]] = {}

    def keep(name: str, milliseconds: float) -> None:
        found.setdefault(name, []).append(milliseconds / 1000)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(again):
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(site.resolve().as_uri())
            tab.wait_for_selector("#table-place tbody tr a")
            keep("table", tab.evaluate("performance.now()"))
            paints = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
            keep("first paint", tab.evaluate(paints))
            most = int(tab.get_attribute("#at-most-params", "max") or 0)
            keep("slider", tab.evaluate(PAINTED, ["slider", most // 2]))
            tab.evaluate(PAINTED, ["slider", most])
            tab.click("#choice-method summary")
            keep("checkbox", tab.evaluate(PAINTED, ["choice", 3]))
            keep("search", tab.evaluate(PAINTED, ["search", "lora"]))
            keep("order", tab.evaluate(PAINTED, ["order", 4]))
            tab.evaluate("document.getElementById('pareto').scrollIntoView()")
            tab.wait_for_selector("#pareto .scatterlayer")
            keep("slider beside the charts", tab.evaluate(PAINTED, ["slider", most // 3]))
            tab.close()
        browser.close()
    return found


def _told(built: dict[str, Any]) -> str:
    size = numbers.memory(built["bytes"])
    return f"{built['runs']:,} runs, {built['seconds']:.1f} s to build, {size}"


def _page(content: dict[str, Any]) -> str:
    on, own, many, opened = content["machine"], content["own"], content["many"], content["opened"]
    asked = {
        "first paint": PAINT,
        "slider": FILTER,
        "checkbox": FILTER,
        "search": FILTER,
        "slider beside the charts": FILTER,
    }
    rows = []
    for name, seconds in opened.items():
        limit = f"{asked[name]:g} s" if name in asked else numbers.MISSING
        middle, least, most = statistics.median(seconds), min(seconds), max(seconds)
        rows.append(f"| {name} | {middle:.3f} s | {least:.3f} to {most:.3f} s | {limit} |")
    return "\n".join(
        [
            "# The site with thousands of runs",
            "",
            f"Made by `python benchmarks/report_site.py` on {on['cpu']}, {on['cores']} cores; load before it "
            f"{on['load_before']}. Pages from disk in a headless Chromium, 1,280 x 900; a step lasts until its frame "
            "is painted.",
            "",
            f"- this leaderboard: {_told(own)}",
            f"- made-up records, a page for each run too: {_told(many)}",
            "",
            "| step | median | from, to | asked |",
            "| --- | ---: | ---: | ---: |",
            *rows,
        ]
    )


if __name__ == "__main__":
    main()

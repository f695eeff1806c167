"""How long a dataset of SPair-71k's size takes to open: ``python benchmarks/opening.py``.

Writes as many synthetic pictures and pair files as SPair-71k has, opens all of its splits as a run does, digests of
annotation and images included, once with an empty cache and then again, each time in a process of its own. Imports
are not counted. Prints the seconds and writes them to ``leaderboard/opening.md`` and ``leaderboard/opening.json``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from findings import write_json
from timing import page
from timing.settings import PROJECT
from timing.spair_layout import WHOLE, WHOLE_IMAGES, write_whole

from peftcorr.data import DATASETS
from peftcorr.data.identity import annotation_digest, images_digest

ASKED = 1.0  # seconds


def main() -> None:
    """Write the folder, open it in fresh processes and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--again", type=int, default=5, metavar="N", help="openings after the first (default: 5)"
    )
    parser.add_argument(
        "--share", type=float, default=1, metavar="F", help="share of SPair-71k's images and pairs"
    )
    parser.add_argument("--output", type=Path, default=PROJECT / "leaderboard", metavar="DIR")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.child:
        print(json.dumps(opening(*map(Path, parsed.child))))
        return
    content: dict[str, Any] = {"schema_version": 1, "machine": page.machine()}
    with tempfile.TemporaryDirectory(prefix="peftcorr-opening-") as work:
        root, cache = Path(work) / "spair", Path(work) / "cache"
        lists = {split: round(count * parsed.share) for split, count in WHOLE.items()}
        write_whole(root, lists, round(WHOLE_IMAGES * parsed.share))
        command = [sys.executable, __file__, "--child", str(root), str(cache)]
        runs = [
            json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            for _ in range(1 + parsed.again)
        ]
    if any(run["digests"] != runs[0]["digests"] for run in runs):
        raise SystemExit("A later opening gave other digests than the first.")
    runs = [{name: value for name, value in run.items() if name != "digests"} for run in runs]
    content |= {"asked_seconds": ASKED, "first": runs[0], "again": runs[1:]}
    text = _page(content)
    print(text)
    write_json(parsed.output / "opening.json", content)
    (parsed.output / "opening.md").write_text(text + "\n", encoding="utf-8")


def opening(root: Path, cache: Path) -> dict[str, Any]:
    """Open every split and take its digests: pairs, images, and seconds by part."""
    source_class = DATASETS.get("spair71k")
    begun = time.perf_counter()
    source = source_class(source_class.Config(), root, cache)
    seconds = {"lists": 0.0, "annotation": 0.0, "images": 0.0}
    pairs, digests = 0, []
    for split in WHOLE:
        marks = [time.perf_counter()]
        dataset = source.load(split)
        marks.append(time.perf_counter())
        digests.append(annotation_digest(dataset))
        marks.append(time.perf_counter())
        digests.append(images_digest(dataset, cache))
        marks.append(time.perf_counter())
        pairs += len(dataset)
        for name, start, end in zip(seconds, marks, marks[1:], strict=False):
            seconds[name] += end - start
    return {"pairs": pairs, "seconds": time.perf_counter() - begun, "parts": seconds, "digests": digests}


def _page(content: dict[str, Any]) -> str:
    first, again = content["first"], content["again"]
    times = sorted(run["seconds"] for run in again)
    parts = {name: sorted(run["parts"][name] for run in again)[len(again) // 2] for name in first["parts"]}
    on = content["machine"]
    return "\n".join(
        [
            "# Opening a dataset of SPair-71k's size",
            "",
            f"Made by `python benchmarks/opening.py` on {on['cpu']}, {on['cores']} cores; load before it "
            f"{on['load_before']}. {first['pairs']:,} pairs in three splits, digests of annotation and images "
            "included, each opening in a process of its own.",
            "",
            f"- the first time: {first['seconds']:.2f} s",
            f"- again: {times[len(times) // 2]:.2f} s ({times[0]:.2f} to {times[-1]:.2f} s), asked < {ASKED:g} s; "
            + ", ".join(f"{name} {value:.2f} s" for name, value in parts.items()),
        ]
    )


if __name__ == "__main__":
    main()

"""What drawing a training step takes where nearly every keypoint has a name of its own: ``python benchmarks/draws.py``.

12,000 pairs of one category with 48,000 names, in three shapes: each pair of two photographs of its own, all among 200
photographs, and all from one photograph to others. For both samplers it prints the processor time of a drawn step (the
median and the longest of 200), that until the first one, and the memory that sampler and draws took at most, and writes
them to ``leaderboard/draws.md`` and ``leaderboard/draws.json``. Data are made up: no file is read.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from findings import write_json
from timing import page
from timing.settings import PROJECT

from peftcorr.data.correspondences import Correspondences
from peftcorr.engine.batches import CliqueSampler, PairSampler
from peftcorr.report.pipes import table

PAIRS, NAMES, STEPS = 12_000, 48_000, 200


def main() -> int:
    """Measure each shape and sampler, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=PROJECT / "leaderboard", metavar="DIR")
    parsed = parser.parse_args()
    number = np.arange(PAIRS)
    rng = np.random.default_rng(0)
    source = rng.integers(0, 200, PAIRS)
    shapes = {
        "two photographs each": (2 * number, 2 * number + 1),
        "among 200": (source, (source + rng.integers(1, 200, PAIRS)) % 200),
        "from one": (np.zeros_like(number), number + 1),
    }
    content: dict[str, Any] = {"schema_version": 1, "machine": page.machine(), "rows": []}
    for shape, (one, other) in shapes.items():
        data = made(one, other)
        samplers: dict[str, Callable[[], CliqueSampler | PairSampler]] = {
            "cliques": lambda data=data: CliqueSampler(data, 5, seed=0),  # type: ignore[misc]
            "pairs": lambda data=data: PairSampler(data, 8, seed=0),  # type: ignore[misc]
        }
        for name, make in samplers.items():
            first, steps = timed(make)
            taken = [first, float(np.median(steps)), max(steps), memory(make)]
            content["rows"].append([shape, name, *taken])
    text = _page(content)
    print(text)
    write_json(parsed.output / "draws.json", content)
    (parsed.output / "draws.md").write_text(text + "\n", encoding="utf-8")
    return 0


def _page(content: dict[str, Any]) -> str:
    header = ["photographs", "sampler", "first step (ms)", "a step (ms)", "longest (ms)", "memory (MB)"]
    rows = [
        [shape, name, f"{first:.0f}", f"{step:.2f}", f"{longest:.2f}", f"{size:.1f}"]
        for shape, name, first, step, longest, size in content["rows"]
    ]
    on = content["machine"]
    return (
        "# Drawing a training step\n\n"
        f"Made by `python benchmarks/draws.py` on {on['cpu']}, {on['cores']} cores: {PAIRS:,} pairs with {NAMES:,} "
        "names of keypoints in one category; processor time.\n\n" + table(header, rows, left=(0, 1))
    )


def made(source: np.ndarray, target: np.ndarray) -> Correspondences:
    """Pairs of some images, each with keypoints that no other pair names."""
    images, each = int(max(source.max(), target.max())) + 1, NAMES // PAIRS
    rng = np.random.default_rng(1)
    pair = np.repeat(np.arange(PAIRS, dtype=np.int32), each)
    return Correspondences(
        images=[f"{number}.jpg" for number in range(images)],
        categories=["thing"] * images,
        sizes=[[640, 480]] * images,
        source=source,
        target=target,
        reference_length=np.full(PAIRS, 100.0),
        pair=pair,
        source_points=rng.uniform(0, 480, (NAMES, 2)),
        target_points=rng.uniform(0, 480, (NAMES, 2)),
        keypoint=np.arange(NAMES, dtype=np.int32),
        keypoint_names=[str(number) for number in range(NAMES)],
        pair_ids=pa.array([str(number) for number in range(PAIRS)]),
    )


def timed(make: Callable[[], CliqueSampler | PairSampler]) -> tuple[float, list[float]]:
    """Milliseconds of processor time until the first step is drawn, and of each of the others."""
    begun = time.thread_time()
    sampler = make()
    sampler.batch(0)
    first = 1e3 * (time.thread_time() - begun)
    steps = []
    for step in range(1, STEPS + 1):
        begun = time.thread_time()
        sampler.batch(step)
        steps.append(1e3 * (time.thread_time() - begun))
    return first, steps


def memory(make: Callable[[], CliqueSampler | PairSampler]) -> float:
    """Most megabytes that a sampler and ten of its steps took."""
    tracemalloc.start()
    sampler = make()
    for step in range(10):
        sampler.batch(step)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / 1e6


if __name__ == "__main__":
    raise SystemExit(main())
